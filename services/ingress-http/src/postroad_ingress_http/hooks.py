"""Webhooks as the API and the dashboard create them: the URL checked, the secret made."""

import base64
import secrets
from urllib.parse import urlsplit

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.schemas.events import EventName
from postroad_ingress_http.errors import bad_field

HOOK_EVENTS = tuple(str(name) for name in EventName if name is not EventName.TRANSFORMED)
MAX_HOOKS = 50  # per account
_MAX_URL = 2000


def check_url(url: str) -> str:
    """`url` itself, if it is one that events may be posted to.

    Whether its host is a private address is decided when it is called, by what its name resolves
    to then.

    Raises:
        ApiError: 400.
    """
    printable = url.isascii() and url.isprintable() and not set(url) & set(' <>"\\')
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise bad_field("url", "This is not a URL.") from None
    if not printable or len(url) > _MAX_URL or parts.scheme not in {"http", "https"} or not host:
        raise bad_field("url", "Give an http or https URL.")
    if parts.username is not None or parts.password is not None:
        raise bad_field("url", "A URL with a password in it is not taken; check the signature.")
    if parts.fragment or port == 0:
        raise bad_field("url", "This URL cannot be called.")
    if ":" not in host and not host.replace(".", "").isdigit():
        try:
            normalise_domain(host)
        except AddressError as error:
            raise bad_field("url", f"Its host is not valid: {error}.") from None
    return url


def check_events(names: list[str]) -> tuple[str, ...]:
    """The event names without repetitions; none means all.

    Raises:
        ApiError: 400.
    """
    for name in names:
        if name not in HOOK_EVENTS:
            raise bad_field("events", f"There is no event {name[:50]!r}.")
    return tuple(dict.fromkeys(names))


def new_secret() -> str:
    """A signing secret in the form of Standard Webhooks: `whsec_` and 32 octets in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
