"""The sender's settings."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from postroad_common.settings import (
    DnsSettings,
    MessageSettings,
    ServiceSettings,
    SimulatorSettings,
    SpoolSettings,
)
from postroad_sender.delivery.schedule import DEFAULT, RetrySchedule
from postroad_sender.limits.caps import StaticCaps
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.routes import Routes
from postroad_sender.routes.sources import Sources


class Settings(ServiceSettings, DnsSettings, SpoolSettings, MessageSettings, SimulatorSettings):
    """What the sender needs to know beyond what every service does."""

    routes: str = Field(
        examples=['[{"domain":"*.example","host":"192.0.2.25","port":25,"tls":"required"}]'],
        default="",
        title="Routes",
        description="JSON list, first match wins: domain (pattern), host, port, tls (none, "
        "opportunistic, required), username, password, source or pool, verify, policy, pipelining, "
        "connections, messages_per_second, spread (all replicas send there); empty: by DNS",
        repr=False,
    )
    sources: str = Field(
        examples=['[{"name":"a","address":"192.0.2.10","ehlo":"a.mail.example"}]'],
        default="",
        title="Sources",
        description="JSON list of local addresses to send from: name, address (or one IPv4 and one "
        "IPv6), ehlo, pools, weight, warmup, connections, messages_per_second; empty: the system's",
    )
    providers: str = Field(
        examples=['{"example":["mx.example.net"]}'],
        default="",
        title="Providers",
        description="JSON object, name of a provider: list of suffixes of its MX hosts; put before "
        "those that are known",
    )
    caps: str = Field(
        examples=['[{"provider":"google","connections":50}]'],
        default="",
        title="Caps",
        description="JSON list of limits that are never exceeded: one of domain (pattern), "
        "provider and source, and connections, messages_per_second, messages_per_day",
    )
    retry_schedule: Annotated[str, NoDecode] = Field(
        examples=["60,300,900"],
        default=",".join(f"{seconds:g}" for seconds in DEFAULT),
        title="Retry schedule",
        description="seconds between attempts, comma separated; the last repeats",
    )
    sender_lane_connections: int = Field(
        default=20,
        ge=1,
        le=1000,
        title="Connections per lane",
        description="most connections to one site from one source address",
    )
    sender_address_connections: int = Field(
        default=50,
        ge=1,
        le=10_000,
        title="Connections per address",
        description="most connections from one source address to one address of a receiver, of "
        "whatever lanes; replicas have their shares. Not for hosts of routes",
    )
    sender_connections: int = Field(
        default=1000,
        ge=1,
        le=50_000,
        title="Connections in all",
        description="most connections of one sender process",
    )
    sender_lane_openings: float = Field(
        default=50.0,
        ge=0.1,
        le=10_000.0,
        title="Openings per lane",
        description="most connections opened in a second to one site from one source address, "
        "whatever the reason",
    )
    sender_connection_messages: int = Field(
        default=200,
        ge=1,
        le=100_000,
        title="Messages per connection",
        description="after which a connection is closed and another opened",
    )
    sender_connection_idle: float = Field(
        default=5.0,
        ge=0.0,
        le=300.0,
        title="Idle connections",
        description="seconds that a connection is kept without a message",
    )
    sender_shard_prefetch: int = Field(
        default=1000,
        ge=10,
        le=10_000,
        title="Messages per shard",
        description="most messages of one shard in this process at once",
    )

    sender_backlog_queues: int = Field(
        default=100,
        ge=0,
        le=5000,
        title="Backlog queues",
        description="most lanes of one sender process that may have a queue of their own for what "
        "waits; the mail of other lanes waits in the retry tiers",
    )

    dnssec: Literal["off", "trusted"] = Field(
        default="off",
        title="DNSSEC",
        description="trusted: the resolver validates, and nobody can change its answers on the "
        "way here; then DANE is used",
    )

    @field_validator("routes")
    @classmethod
    def _check_routes(cls, value: str) -> str:
        Routes.parse(value)
        return value

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, value: str) -> str:
        Sources.parse(value)
        return value

    @field_validator("providers")
    @classmethod
    def _check_providers(cls, value: str) -> str:
        Providers.parse(value)
        return value

    @model_validator(mode="after")
    def _check_sending(self) -> "Settings":
        sources = Sources.parse(self.sources)
        try:
            sources.check(Routes.parse(self.routes))
        except ValueError as error:
            raise ValueError(f"POSTROAD_ROUTES: {error}") from error
        try:
            StaticCaps.parse(self.caps, sources, Providers.parse(self.providers))
        except ValueError as error:
            (example,) = type(self).model_fields["caps"].examples or [""]
            raise ValueError(f"POSTROAD_CAPS: {error}, as in POSTROAD_CAPS={example}") from error
        return self

    @field_validator("retry_schedule")
    @classmethod
    def _check_schedule(cls, value: str) -> str:
        RetrySchedule.parse(value)
        return value
