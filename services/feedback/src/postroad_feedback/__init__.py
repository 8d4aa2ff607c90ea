"""Keeps the event log and calls the webhooks."""
