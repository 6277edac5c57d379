"""How well methods explain: measurements on patched pairs, tables, figures."""
