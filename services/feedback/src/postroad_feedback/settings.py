"""The settings of feedback."""

from typing import Literal

from pydantic import Field

from postroad_common.settings import DnsSettings, Networks, ServiceSettings


class Settings(ServiceSettings, DnsSettings):
    """See the parents for what is shared."""

    webhook_allow_networks: Networks = Field(
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
