"""What clients send within AUTH PLAIN (RFC 4616) and AUTH LOGIN, decoded.

Whether the password is right is decided elsewhere.
"""

import base64
import binascii
from dataclasses import dataclass, field

USERNAME_PROMPT = b"334 VXNlcm5hbWU6\r\n"
PASSWORD_PROMPT = b"334 UGFzc3dvcmQ6\r\n"
EMPTY_PROMPT = b"334 \r\n"
CANCEL = b"*"

_MAX_USERNAME = 255
_MAX_PASSWORD = 1024


class NotBase64Error(ValueError):
    """A response that is not base64."""


class NoCredentialsError(ValueError):
    """A response that is base64 but can be no login."""


@dataclass(frozen=True, slots=True)
class SaslCredentials:
    """A name and a password as given, unchecked."""

    username: str
    password: str = field(repr=False)


def decode(response: bytes) -> bytes:
    """Return the octets that a response (or an initial response, where `=` means empty) stands for.

    Raises:
        NotBase64Error: it is not base64.
    """
    if response == b"=":
        return b""
    try:
        return base64.b64decode(response, validate=True)
    except binascii.Error as error:
        raise NotBase64Error from error


def plain(message: bytes) -> SaslCredentials:
    """Return the credentials in a PLAIN message, which must act for the login itself.

    Raises:
        NoCredentialsError: it has not three parts, or asks to act for somebody else.
    """
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise NoCredentialsError
    acting_for, username, password = parts
    if acting_for not in {b"", username}:
        raise NoCredentialsError
    return login(username, password)


def login(username: bytes, password: bytes) -> SaslCredentials:
    """Return the credentials of LOGIN's two responses.

    Raises:
        NoCredentialsError: empty, too long, not UTF-8, or with control characters.
    """
    try:
        credentials = SaslCredentials(username.decode(), password.decode())
    except UnicodeDecodeError as error:
        raise NoCredentialsError from error
    name = credentials.username
    if not (name and password) or len(name) > _MAX_USERNAME or len(password) > _MAX_PASSWORD:
        raise NoCredentialsError
    if not name.isprintable() or "\0" in credentials.password:
        raise NoCredentialsError
    return credentials
