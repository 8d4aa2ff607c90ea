"""`POST /v1/send` from its fields to a submission on the queue."""
