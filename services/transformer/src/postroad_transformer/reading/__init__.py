"""What a message says: its header fields, MIME structure, charsets and transfer encodings."""
