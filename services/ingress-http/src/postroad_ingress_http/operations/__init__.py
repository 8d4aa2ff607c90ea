"""What operators see and order: lanes, queues, dead letters."""
