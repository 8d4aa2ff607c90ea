"""How fast one lane may go: what the receiver's replies teach, in pure functions of time."""
