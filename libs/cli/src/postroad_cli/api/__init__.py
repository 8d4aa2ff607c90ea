"""Subcommands that speak to the REST API, a module for each kind of thing."""
