"""Understands returned mail; writes DSNs and forwards."""
