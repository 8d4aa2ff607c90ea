"""Providers: who runs the hosts of a site, so that all sites of one provider are counted together.

The rules are data (`providers.toml`), and `POSTROAD_PROVIDERS` puts its own before them.
"""

import ipaddress
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources

from postroad_common.mail.address import AddressError, normalise_domain

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class ProviderError(ValueError):
    """The text says nothing valid of providers; the message names the entry."""


def load_rules(text: str) -> dict[str, str]:
    """Suffixes of host names, each with its provider, in a TOML document."""
    return {
        suffix: entry["name"]
        for entry in tomllib.loads(text)["provider"]
        for suffix in entry["hosts"]
    }


RULES = load_rules(
    resources.files("postroad_sender.routes").joinpath("providers.toml").read_text("utf-8")
)


class Providers:
    """Knows providers by the names of their hosts."""

    def __init__(self, more: Mapping[str, str] | None = None) -> None:
        self._rules = RULES | dict(more or {})
        self.names = frozenset(self._rules.values())
        self._of_host = lru_cache(maxsize=4096)(self._find)

    @classmethod
    def parse(cls, text: str) -> "Providers":
        """With the rules in `text`, a JSON object: a provider's name → suffixes of host names.

        Raises:
            ProviderError: with the name of the entry and what is wrong with it.
        """
        if not text.strip():
            return cls()
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise ProviderError(f"not JSON: {error}") from None
        if not isinstance(entries, dict):
            raise ProviderError("must be a JSON object: name of a provider → list of host suffixes")
        more: dict[str, str] = {}
        for name, suffixes in entries.items():
            if not _NAME.fullmatch(name):
                raise ProviderError(f"provider {name!r}: a name has a-z, 0-9, '.', '_' and '-'")
            if not isinstance(suffixes, list) or not suffixes:
                raise ProviderError(f"provider {name}: must have a list of host suffixes")
            for suffix in suffixes:
                try:
                    more[_host(str(suffix))] = name
                except AddressError as error:
                    raise ProviderError(f"provider {name}: {suffix!r}: {error}") from None
        return cls(more)

    def of_hosts(self, hosts: Iterable[str]) -> str:
        """Return the provider of the site with these hosts, in any order; empty if not known."""
        for host in sorted({host.rstrip(".").lower() for host in hosts}):
            found = self._of_host(host)
            if found:
                return found
        return ""

    def _find(self, host: str) -> str:
        """By the longest suffix that there is a rule for."""
        if host in self._rules:
            return self._rules[host]
        labels = host.split(".")
        for start in range(len(labels)):
            found = self._rules.get(".".join(labels[start:]))
            if found is not None:
                return found
        return ""


def _host(suffix: str) -> str:
    """As it is compared: an address whole, a name in lower case. Raises AddressError."""
    try:
        return str(ipaddress.ip_address(suffix))
    except ValueError:
        return normalise_domain(suffix.lstrip("."))
