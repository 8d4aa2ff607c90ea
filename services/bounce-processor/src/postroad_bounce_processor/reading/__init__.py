"""Returned mail as octets: its MIME parts, and their text."""
