"""What travels between the services: a model for each kind of message, and their frame."""
