"""The settings of feedback."""

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from postroad_common.publicaddress import IPNetwork
from postroad_common.settings import DnsSettings, ServiceSettings


class Settings(ServiceSettings, DnsSettings):
    """See the parents for what is shared."""

    webhook_allow_networks: Annotated[tuple[IPNetwork, ...], NoDecode] = Field(
        default=(),
        title="Private networks that webhooks may call",
        description="comma separated, as in 10.1.2.0/24; every other address that is not public "
        "is refused",
    )

    webhook_ownership: Literal["optional", "required"] = Field(
        default="optional",
        title="Proof of webhook ownership",
        description="required: an end point gets no events until it has repeated the challenge "
        "of a verification call",
    )

    otlp_url: str | None = Field(
        default=None,
        pattern="^https?://",
        title="Collector of OpenTelemetry",
        description="whole address for traces, as in http://collector:4318/v1/traces; spans are "
        "sent of mail that came with a sampled traceparent; none without it",
    )

    @field_validator("webhook_allow_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(
                ipaddress.ip_network(part.strip(), strict=False)
                for part in value.split(",")
                if part.strip()
            )
        return value
