"""Passwords and tokens: made at random, shown once, kept as hashes."""

import base64
import hashlib
import secrets

import argon2

_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
DUMMY_HASH = _hasher.hash(secrets.token_urlsafe(16))
"""Verified against when there is no such login, so that both cases take the same time."""


def new_password() -> str:
    """32 characters that survive every form field and shell: 160 bits, base32 in lower case."""
    return base64.b32encode(secrets.token_bytes(20)).decode().lower()


def new_username() -> str:
    """Return a name for a login: short, typeable, unique by chance (65 bits)."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()[:13]


def hash_password(password: str) -> str:
    """Return the argon2id hash. This takes some 30 ms of CPU: call it in a thread."""
    return _hasher.hash(password)


def verify_password(stored: str, password: str) -> bool:
    """Whether `password` belongs to the hash `stored`. Call it in a thread, too."""
    try:
        return _hasher.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def new_token() -> str:
    """Return a REST token: `pr_` and 256 bits."""
    return "pr_" + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """SHA-256 in hex: tokens are random, so a fast hash is enough to keep them."""
    return hashlib.sha256(token.encode()).hexdigest()
