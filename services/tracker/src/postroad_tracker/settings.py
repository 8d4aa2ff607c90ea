"""The tracker's settings."""

import ipaddress
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from postroad_common.settings import ServiceSettings, SpoolSettings, TrackingSettings
from postroad_tracker.visitor import IPNetwork


class Settings(ServiceSettings, TrackingSettings, SpoolSettings):
    """See the parents for what is shared."""

    tracker_port: int = Field(
        default=8081, ge=0, le=65535, title="Tracker port", description="HTTP; 0 takes a free one"
    )
    trusted_proxies: Annotated[tuple[IPNetwork, ...], NoDecode] = Field(
        default=(),
        title="Trusted proxies",
        description="networks, comma separated, whose X-Forwarded-For is believed",
    )
    spool_max_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        title="Largest spool",
        description="bytes of events kept on disk while the broker is away (256 MiB; one event "
        "takes some 400); what does not fit is not counted, but readers are served",
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                ipaddress.ip_network(part.strip(), strict=False)
                for part in value.split(",")
                if part.strip()
            )
        return value
