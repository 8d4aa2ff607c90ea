"""AES-GCM with a nonce in front, for what is kept where others could read or change it.

The library is imported when it is first used: a service that nobody logs in to does without its
2 MB.
"""

import os

_NONCE = 12  # octets


def seal(key: bytes, data: bytes, context: bytes | None = None) -> bytes:
    """Return the data encrypted; it is opened with the same `context` only."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see the module

    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, context)


def unseal(key: bytes, sealed: bytes, context: bytes | None = None) -> bytes:
    """Return what was sealed.

    Raises:
        ValueError: it was not sealed with this key and context, or was changed.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as above

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], context)
    except InvalidTag:
        raise ValueError("it was not sealed here, or was changed") from None
