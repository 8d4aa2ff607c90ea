"""Limits that several lanes share, in one process or over all: caps, warm-ups, quotas."""
