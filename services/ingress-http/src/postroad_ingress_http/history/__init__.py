"""What happened to mail: messages, their content, the addresses they went to."""
