"""What a webhook may be: its URL, its events, its signing secret."""

import base64
import ipaddress
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.publicaddress import is_public
from postroad_common.schemas.events import TIMELINE_ONLY, EventName
from postroad_ingress_http.http.errors import bad_field

HOOK_EVENTS = tuple(str(name) for name in EventName if name not in TIMELINE_ONLY)
MOST_BATCHED = 1000
MOST_BATCH_SECONDS = 300.0
_MAX_URL = 2000


def check_url(url: str) -> str:
    """Return `url` if events may be posted to it.

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


def private_host(url: str) -> str:
    """Return the host of a URL that says by itself that it is not public, else nothing."""
    host = urlsplit(url).hostname or ""
    try:
        public = is_public(ipaddress.ip_address(host))
    except ValueError:
        public = host != "localhost" and not host.endswith(".localhost")
    return "" if public else host


def check_events(names: Sequence[str]) -> tuple[str, ...]:
    """Return the event names without repetitions; none means all.

    Raises:
        ApiError: 400.
    """
    for name in names:
        if name not in HOOK_EVENTS:
            raise bad_field("events", f"There is no event {name[:50]!r}.")
    return tuple(dict.fromkeys(names))


def new_secret() -> str:
    """Return a new signing secret as Standard Webhooks has it: `whsec_` and 32 octets, base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
