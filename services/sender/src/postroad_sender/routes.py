"""Routes: where mail for a domain goes when not where its MX says, and how.

`POSTROAD_ROUTES` is a JSON list; the first route whose pattern matches the domain wins. A route
without a `host` leaves the way to DNS and only says how to talk there.
"""

import json
from fnmatch import fnmatchcase
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_sender.wire.session import TlsWish


class RouteError(ValueError):
    """The text is no valid list of routes; the message names the entry and the field."""


class Route(BaseModel):
    """One route. `connections` and `messages_per_second` are caps that the lane never exceeds.

    With `spread` there is a lane for each shard, so that all replicas send to the host: for those
    without limits of their own. The caps are then for each of these lanes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str = Field(min_length=1, max_length=255)
    host: str | None = None
    port: int = Field(default=25, ge=1, le=65535)
    tls: TlsWish = TlsWish.OPPORTUNISTIC
    verify: bool | None = None
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    source: str | None = None
    pipelining: bool = True
    spread: bool = False
    connections: int | None = Field(default=None, ge=1, le=1000)
    messages_per_second: float | None = Field(default=None, gt=0)

    @field_validator("domain")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        if value is None or ":" in value or value.replace(".", "").isdigit():
            return value  # an IP address; connecting tells whether it is one
        try:
            return normalise_domain(value)
        except AddressError as error:
            raise ValueError(str(error)) from error

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
            return self.verify
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
        """The routes in `text`; nothing means none.

        Raises:
            RouteError: with the number of the entry and what is wrong with it.
        """
        if not text.strip():
            return cls()
        try:
            entries = json.loads(text)
        except ValueError as error:
            raise RouteError(f"not JSON: {error}") from None
        if not isinstance(entries, list):
            raise RouteError("must be a JSON list of routes")
        routes = []
        for number, entry in enumerate(entries, 1):
            try:
                routes.append(Route.model_validate(entry))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                text = first["msg"].removeprefix("Value error, ")
                raise RouteError(f"route {number}: {where + ': ' if where else ''}{text}") from None
        return cls(tuple(routes))

    def _find(self, domain: str) -> Route:
        """The first route that matches `domain` (lower case), else `DIRECT`."""
        for route in self._routes:
            if fnmatchcase(domain, route.domain):
                return route
        return DIRECT
