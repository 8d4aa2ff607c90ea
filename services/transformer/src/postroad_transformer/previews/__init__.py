"""Mails as they would be sent, for those who ask: made by the same code, sent to nobody."""
