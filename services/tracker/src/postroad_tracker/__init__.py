"""Redirects clicks and counts opens."""
