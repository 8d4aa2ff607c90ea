"""Routes: where mail for a domain goes when not where its MX says, and how.

`POSTROAD_ROUTES` is a JSON list; the first route whose pattern matches the domain wins. A route
without a `host` leaves the way to DNS and only says how to talk there.
"""

import ipaddress
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_sender.routes.entries import EntryError, domain_pattern, read_entries
from postroad_smtp.client.session import TlsWish


class RouteError(ValueError):
    """The text is no valid list of routes; the message names the entry and the field."""


class Route(BaseModel):
    """One route. `connections` and `messages_per_second` are caps that the lane never exceeds.

    Its mail goes out from `source` (a name or an address), or from those of the `pool`; there is a
    lane for each of them.

    With `policy` switched off, MTA-STS and DANE are not looked at; nor are they where the route
    names a `host` or has `tls` none.

    With `spread` there is a lane for each shard, so that all replicas send to the host: for those
    without limits of their own. The caps are then for each of these lanes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(min_length=1, max_length=255)
    host: str | None = None
    port: int = Field(default=25, ge=1, le=65535)
    tls: TlsWish = TlsWish.OPPORTUNISTIC
    verify: bool | None = None
    policy: bool = True
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    source: str | None = Field(default=None, min_length=1)
    pool: str | None = Field(default=None, min_length=1)
    pipelining: bool = True
    spread: bool = False
    connections: int | None = Field(default=None, ge=1, le=1000)
    messages_per_second: float | None = Field(default=None, gt=0)

    @field_validator("domain")
    @classmethod
    def _check_domain(cls, value: str) -> str:
        return domain_pattern(value)

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
        if value.startswith("["):
            raise ValueError("an address is written without brackets")
        try:
            return normalise_domain(value)
        except AddressError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _check_source(self) -> "Route":
        if self.source is not None and self.pool is not None:
            raise ValueError("source and pool exclude each other")
        return self

    @model_validator(mode="after")
    def _check_login(self) -> "Route":
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.username is not None and self.host is None:
            raise ValueError("a login needs a host: it is not shown to whoever DNS names")
        return self

    @property
    def checks_certificate(self) -> bool:
        """Whether the certificate must be good; always so where a password is sent under TLS."""
        if self.verify is not None:
            return self.verify and self.tls is not TlsWish.NONE
        return self.username is not None and self.tls is not TlsWish.NONE


DIRECT = Route(domain="*")
"""What holds where no route matches: MX, port 25, TLS if offered."""


class Routes:
    """All routes of this deployment."""

    def __init__(self, routes: tuple[Route, ...] = ()) -> None:
        self._routes = routes
        self.find = lru_cache(maxsize=65536)(self._find)

    @classmethod
    def parse(cls, text: str) -> "Routes":
        """Return the routes in `text`; nothing means none.

        Raises:
            RouteError: with the number of the entry and what is wrong with it.
        """
        try:
            return cls(tuple(read_entries(text, Route, "route")))
        except EntryError as error:
            raise RouteError(str(error)) from None

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def _find(self, domain: str) -> Route:
        """Return the first route that matches `domain` (lower case), else `DIRECT`."""
        for route in self._routes:
            if fnmatchcase(domain, route.domain):
                return route
        return DIRECT
