"""The settings of ingress-smtp."""

import difflib
import json
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from postroad_common.mail.address import AddressError, domain_of, parse_mailbox
from postroad_common.settingproblems import in_words
from postroad_common.settings import BounceSettings, MessageSettings, ServiceSettings
from postroad_common.settingvalues import Networks, Port, ReadableFile
from postroad_ingress_smtp.limits import SmtpLimits


class IngressLimits(BaseModel):
    """The value of `POSTROAD_LIMITS`: a section for each ingress, of which ours is `smtp`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smtp: SmtpLimits = SmtpLimits()
    http: Any = None
    """What ingress-http reads, and checks."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_sections(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError('must be an object with the sections "smtp" and "http"')  # noqa: TRY004 - pydantic reports ValueErrors only
        for name in value:
            if name in SmtpLimits.model_fields:
                raise ValueError(f'{name} belongs into "smtp"')
            if name not in cls.model_fields:
                close = difflib.get_close_matches(str(name), ["smtp", "http"], n=1)
                hint = f'did you mean "{close[0]}"?' if close else 'there are "smtp" and "http"'
                raise ValueError(f"{name} is not a section; {hint}")
        return value


def _explain(error: ValidationError) -> str:
    """Return the first thing that is wrong, its place and, for a name, what it may have meant."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = in_words(first)
    if first["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(first["loc"][-1]), list(SmtpLimits.model_fields), n=1)
        text = "is not known; " + (
            f"did you mean {close[0]}?" if close else "the names are in docs/smtp.md"
        )
    return f"{where}: {text}" if where else text


class Settings(ServiceSettings, BounceSettings, MessageSettings):
    """Everything ingress-smtp can be told."""

    smtp_port: Port = Field(
        default=5587,
        title="Submission port",
        description="mail from applications, STARTTLS mandatory; 0 takes a free one",
    )
    smtps_port: Port = Field(
        default=5465,
        title="Submission port with TLS",
        description="mail from applications, TLS from the first octet; 0 takes a free one",
    )
    mx_port: Port = Field(
        default=5025,
        title="MX port",
        description="mail returned to bounce addresses; 0 takes a free one",
    )
    tls_cert: ReadableFile = Field(
        examples=["/etc/postroad/tls/fullchain.pem"],
        title="Certificate",
        description="PEM file with the listeners' certificate and its chain; read again on change",
    )
    tls_key: ReadableFile = Field(
        examples=["/etc/postroad/tls/privkey.pem"],
        title="Private key",
        description="PEM file, not encrypted",
    )
    tls_watch_seconds: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        title="Certificate check",
        description="seconds between looks at whether the certificate files have changed",
    )
    proxy_networks: Networks = Field(
        examples=["10.1.2.0/24"],
        default=(),
        title="Load balancers",
        description="networks, separated by commas, whose connections begin with a PROXY protocol"
        " header (v1 or v2); from anywhere else such a header is refused",
    )
    postmaster: str | None = Field(
        examples=["ops@example.com"],
        default=None,
        title="Postmaster",
        description="address elsewhere that gets mail to postmaster@ and abuse@ of the host name "
        "and the bounce domain; without it that is refused as other mail is",
    )
    limits: Annotated[IngressLimits, NoDecode] = Field(
        examples=['{"smtp":{"connections":5000}}'],
        default=IngressLimits(),
        title="Limits",
        description='JSON, as in {"smtp":{"connections":5000}}; the names are in docs/smtp.md',
    )

    @field_validator("postmaster")
    @classmethod
    def _check_postmaster(cls, value: str | None) -> str | None:
        try:
            return parse_mailbox(value).text if value else None
        except AddressError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _check_loop(self) -> Self:
        if self.postmaster and domain_of(self.postmaster) in {self.hostname, self.bounce_domain}:
            raise ValueError("POSTROAD_POSTMASTER must be elsewhere: this one leads back here")
        return self

    @field_validator("limits", mode="before")
    @classmethod
    def _read_limits(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return IngressLimits.model_validate(json.loads(value))
        except json.JSONDecodeError as error:
            raise ValueError(f"is not JSON: {error}") from error
        except ValidationError as error:
            raise ValueError(_explain(error)) from error
