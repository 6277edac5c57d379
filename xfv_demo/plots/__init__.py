"""Everything that makes colour: styles, colour maps, figures."""
