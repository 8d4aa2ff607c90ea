"""SMTP submission and the MX listener for returned mail."""
