"""Subcommands that run a whole Postroad on this machine."""
