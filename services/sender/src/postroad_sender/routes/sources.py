"""Sources: the local addresses that mail is sent from, each with its name in EHLO, and their pools.

`POSTROAD_SOURCES` is a JSON list. A route names a pool, or one source by name or address; without
either its mail goes out through the pool `default`, and where that has no source the system chooses
the address.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_sender.routes.entries import EntryError, read_entries
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.routes.warmup import WarmUp

DEFAULT_POOL = "default"


class SourceError(ValueError):
    """Something about sources is wrong; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class Source:
    """One source. `addresses`: at most one of each family; none leaves the choice to the system.

    `connections` and `messages_per_second` hold for all its mail together, over all replicas.
    """

    name: str = ""
    addresses: tuple[str, ...] = ()
    ehlo: str | None = None
    pools: tuple[str, ...] = ()
    weight: float = 1.0
    warmup: WarmUp | None = None
    connections: int | None = None
    messages_per_second: float | None = None

    def reaches(self, remote: str) -> bool:
        """Whether it can connect to the address `remote`: it has one of that family."""
        return not self.addresses or self.address_for(remote) is not None

    def address_for(self, remote: str) -> str | None:
        """Return the local address to connect to `remote` from; None: the system's choice."""
        six = ":" in remote
        return next((address for address in self.addresses if (":" in address) is six), None)


SYSTEM = Source()
"""The source of mail that has none."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]{0,63}$")
    address: Annotated[tuple[str, ...], BeforeValidator(_as_list)] = Field(
        min_length=1, max_length=2
    )
    ehlo: str | None = None
    pools: tuple[str, ...] = Field(default=(DEFAULT_POOL,), min_length=1)
    weight: float = Field(default=1.0, gt=0.0, le=1000.0)
    warmup: WarmUp | None = None
    connections: int | None = Field(default=None, ge=1, le=100_000)
    messages_per_second: float | None = Field(default=None, ge=0.01, le=100_000.0)

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            found = [ipaddress.ip_address(text) for text in value]
        except ValueError as error:
            raise ValueError(str(error)) from None
        if len({address.version for address in found}) < len(found):
            raise ValueError("two addresses must be one of IPv4 and one of IPv6")
        return tuple(str(address) for address in found)

    @field_validator("ehlo")
    @classmethod
    def _check_ehlo(cls, value: str | None) -> str | None:
        try:
            return None if value is None else normalise_domain(value)
        except AddressError as error:
            raise ValueError(str(error)) from None

    def source(self) -> Source:
        """Return what it describes."""
        return Source(
            name=self.name,
            addresses=self.address,
            ehlo=self.ehlo,
            pools=self.pools,
            weight=self.weight,
            warmup=self.warmup,
            connections=self.connections,
            messages_per_second=self.messages_per_second,
        )


class Sources:
    """All sources of this deployment."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._by_name: dict[str, Source] = {}
        self._by_address: dict[str, Source] = {}
        self._pools: dict[str, tuple[Source, ...]] = {}
        for source in sources:
            self._by_name[source.name] = source
            for address in source.addresses:
                self._by_address[address] = source
            for pool in source.pools:
                self._pools[pool] = (*self._pools.get(pool, ()), source)

    @classmethod
    def parse(cls, text: str) -> "Sources":
        """Return the sources in `text`; nothing means none.

        Raises:
            SourceError: with the number of the entry and what is wrong with it.
        """
        try:
            found = [entry.source() for entry in read_entries(text, _Entry, "source")]
        except EntryError as error:
            raise SourceError(str(error)) from None
        names: set[str] = set()
        addresses: set[str] = set()
        for number, source in enumerate(found, 1):
            if source.name in names:
                raise SourceError(f"source {number}: name: {source.name} is there twice")
            for address in source.addresses:
                if address in addresses:
                    raise SourceError(f"source {number}: address: {address} is there twice")
            names.add(source.name)
            addresses.update(source.addresses)
        return cls(found)

    def __iter__(self) -> Iterator[Source]:
        return iter(self._by_name.values())

    def find(self, name: str) -> Source | None:
        """Return the source with that name or address; an address of none is a source, too."""
        found = self._by_name.get(name)
        if found is not None:
            return found
        try:
            address = str(ipaddress.ip_address(name))
        except ValueError:
            return None
        return self._by_address.get(address) or Source(name=address, addresses=(address,))

    def of_route(self, route: Route) -> tuple[Source, ...]:
        """Return the sources for the mail of `route`; at least one.

        Raises:
            SourceError: it names one that is not there.
        """
        if route.source is not None:
            found = self.find(route.source)
            if found is None:
                raise SourceError(f"source: there is none with the name {route.source}")
            return (found,)
        if route.pool is not None and route.pool not in self._pools:
            raise SourceError(f"pool: no source is in {route.pool}")
        return self._pools.get(route.pool or DEFAULT_POOL, (SYSTEM,))

    def check(self, routes: Routes) -> None:
        """Raise SourceError if a route names a source or a pool that is not there."""
        for number, route in enumerate(routes, 1):
            try:
                self.of_route(route)
            except SourceError as error:
                raise SourceError(f"route {number}: {error}") from None
