"""Processes in which heavy HTML is worked on, and from which it can be taken away in time."""
