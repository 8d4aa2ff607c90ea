"""Caps: limits that operators set for domains, providers and sources, never exceeded.

`POSTROAD_CAPS` is a JSON list. Several may apply to the same mail; all hold. A pattern of domains
is about each domain that it fits, for itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from postroad_sender.routes.entries import EntryError, domain_pattern, read_entries
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.sources import Source, Sources

SLOWEST = 0.01
"""Messages per second, the least that may be set: there are caps per day for less."""

N = TypeVar("N", int, float)


class CapError(ValueError):
    """The text is no valid list of caps; the message names the entry and the field."""


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """What holds for one domain, provider or source; None: no limit."""

    connections: int | None = None
    messages_per_second: float | None = None
    messages_per_day: int | None = None

    def both(self, other: "DeliveryLimits") -> "DeliveryLimits":
        """Return the smaller of each."""
        return DeliveryLimits(
            _least(self.connections, other.connections),
            _least(self.messages_per_second, other.messages_per_second),
            _least(self.messages_per_day, other.messages_per_day),
        )


def _least(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


NO_LIMITS = DeliveryLimits()


class Cap(BaseModel):
    """One cap: whose it is, and at least one limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str | None = Field(default=None, min_length=1, max_length=255)
    provider: str | None = None
    source: str | None = None
    connections: int | None = Field(default=None, ge=1, le=100_000)
    messages_per_second: float | None = Field(default=None, ge=SLOWEST, le=100_000.0)
    messages_per_day: int | None = Field(default=None, ge=1, le=1_000_000_000)

    @field_validator("domain")
    @classmethod
    def _check_domain(cls, value: str | None) -> str | None:
        return None if value is None else domain_pattern(value)

    @model_validator(mode="after")
    def _check(self) -> "Cap":
        subjects = [self.domain, self.provider, self.source]
        if sum(subject is not None for subject in subjects) != 1:
            raise ValueError("must have one of domain, provider and source")
        if self.limits == NO_LIMITS:
            raise ValueError(
                "must have a limit: connections, messages_per_second or messages_per_day"
            )
        return self

    @property
    def limits(self) -> DeliveryLimits:
        """What it limits."""
        return DeliveryLimits(self.connections, self.messages_per_second, self.messages_per_day)


class StaticCaps:
    """All caps of this deployment, those that sources bring along included."""

    def __init__(self, caps: Iterable[Cap] = (), sources: Sources | None = None) -> None:
        self._caps = tuple(caps)
        self._sources = sources or Sources()
        self.has_domains = any(cap.domain is not None for cap in self._caps)
        self.of_domain = lru_cache(maxsize=65536)(self._of_domain)
        self.of_provider = lru_cache(maxsize=1024)(self._of_provider)

    @classmethod
    def parse(cls, text: str, sources: Sources, providers: Providers) -> "StaticCaps":
        """Return the caps in `text`; nothing means only those of the sources.

        Raises:
            CapError: with the number of the entry and what is wrong with it.
        """
        try:
            caps = read_entries(text, Cap, "cap")
        except EntryError as error:
            raise CapError(str(error)) from None
        for number, cap in enumerate(caps, 1):
            if cap.provider is not None and cap.provider not in providers.names:
                raise CapError(f"cap {number}: provider: {cap.provider} is not known")
            if cap.source is not None and sources.find(cap.source) is None:
                raise CapError(f"cap {number}: source: there is none with the name {cap.source}")
        return cls(caps, sources)

    def of_sources(self) -> dict[str, DeliveryLimits]:
        """Return what holds for each source that is named or has a cap."""
        named = [self._sources.find(cap.source) for cap in self._caps if cap.source is not None]
        every = [*self._sources, *(source for source in named if source is not None)]
        return {source.name: self.of_source(source) for source in every}

    def of_source(self, source: Source) -> DeliveryLimits:
        """Return what holds for `source`."""
        found = DeliveryLimits(source.connections, source.messages_per_second)
        for cap in self._caps:
            if cap.source is not None:
                named = self._sources.find(cap.source)
                if named is not None and named.name == source.name:
                    found = found.both(cap.limits)
        return found

    def _of_provider(self, provider: str) -> DeliveryLimits:
        """Return what holds for all sites of `provider` together."""
        found = NO_LIMITS
        for cap in self._caps:
            if provider and cap.provider == provider:
                found = found.both(cap.limits)
        return found

    def _of_domain(self, domain: str) -> DeliveryLimits:
        """Return what holds for mail to `domain` (lower case)."""
        found = NO_LIMITS
        for cap in self._caps:
            if cap.domain is not None and fnmatchcase(domain, cap.domain):
                found = found.both(cap.limits)
        return found
