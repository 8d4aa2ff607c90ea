"""Daily log files: made from the event log, written in several formats."""
