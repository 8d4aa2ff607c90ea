"""Types of values that settings have, each checked when it is read: names, addresses, networks."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.publicaddress import IPNetwork


def _split_networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(_as_network(part.strip()) for part in value.split(",") if part.strip())


def _as_network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"must be networks, separated by commas: {text!r} is none") from None


def _as_domain(value: str) -> str:
    try:
        return normalise_domain(value)
    except AddressError as error:
        raise ValueError(str(error)) from error


def _as_domain_or_off(value: str) -> str:
    return "" if value.strip().lower() == "off" else _as_domain(value)


def _as_listen_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return _as_domain(value)


def has_host(url: str) -> bool:
    """Say whether `url` names a host and, where it names a port, one that exists."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        return False


def as_web_address(value: str) -> str:
    """Return `value` without a slash at its end.

    Raises:
        ValueError: it is no http or https URL, or names no host.
    """
    if not value.startswith(("http://", "https://")) or not has_host(value):
        raise ValueError("must start with http:// or https://, with a host after it")
    return value.rstrip("/")


def _as_readable(value: Path) -> Path:
    try:
        with value.open("rb"):
            return value
    except OSError as error:
        raise ValueError(f"{str(value)!r} cannot be read: {error.strerror}") from error


def _as_folder(value: Path) -> Path:
    existing = next(path for path in (value, *value.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"{str(existing)!r} is no folder")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"{str(existing)!r} cannot be written to")
    return value


def _as_printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of text")
    return value


Networks = Annotated[tuple[IPNetwork, ...], NoDecode, BeforeValidator(_split_networks)]
"""Networks, separated by commas."""
Port = Annotated[int, Field(ge=0, le=65_535)]
"""Where a service listens; 0 takes a free one."""
Domain = Annotated[str, AfterValidator(_as_domain)]
DomainOrOff = Annotated[str, AfterValidator(_as_domain_or_off)]
"""A domain; `off` becomes the empty text."""
ListenAddress = Annotated[str, AfterValidator(_as_listen_address)]
"""An address of this machine, or a name of it."""
WebAddress = Annotated[str, AfterValidator(as_web_address)]
"""An http or https URL, without a slash at its end."""
ReadableFile = Annotated[Path, AfterValidator(_as_readable)]
"""A file that is there."""
WritableFolder = Annotated[Path, AfterValidator(_as_folder)]
"""A folder of our own, which is made where it is not there yet."""
Line = Annotated[str, AfterValidator(_as_printable)]
"""One line of text."""
