"""The `postroad` command: one module for each group of subcommands."""

from postroad_cli.main import main

__all__ = ["main"]
