"""The command line: `python -m xfv_demo` or `xfv-demo`."""

from xfv_demo.cli.app import main as main
