"""Delivers mail at the speed of the receiving server."""
