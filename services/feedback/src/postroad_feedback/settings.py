"""The settings of feedback."""

import re
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from postroad_common.settings import DnsSettings, ServiceSettings
from postroad_common.settingvalues import Networks, WebAddress

_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def _read_headers(value: object) -> object:
    """Read `name=value,name=value` as OTEL_EXPORTER_OTLP_HEADERS has it, percent-encoded."""
    if not isinstance(value, str):
        return value
    found = []
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, equals, text = part.partition("=")
        content = unquote(text.strip())
        if not (equals and _HEADER.fullmatch(name.strip()) and content.isprintable()):
            raise ValueError("must be NAME=VALUE, several separated by commas")
        found.append((name.strip(), content))
    return tuple(found)


class Settings(ServiceSettings, DnsSettings):
    """See the parents for what is shared."""

    webhook_allow_networks: Networks = Field(
        examples=["10.1.2.0/24"],
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

    otlp_url: WebAddress | None = Field(
        examples=["http://collector:4318/v1/traces"],
        default=None,
        title="Collector of OpenTelemetry",
        description="whole address for traces, as in http://collector:4318/v1/traces; spans are "
        "sent of mail that came with a sampled traceparent; none without it",
    )

    otlp_headers: Annotated[
        tuple[tuple[str, str], ...], NoDecode, BeforeValidator(_read_headers)
    ] = Field(
        examples=["Authorization=Bearer%20TOKEN"],
        default=(),
        title="Headers for the collector",
        description="NAME=VALUE, several separated by commas, values percent-encoded, as in "
        "Authorization=Bearer%20…; for collectors that ask who sends",
        repr=False,
    )
