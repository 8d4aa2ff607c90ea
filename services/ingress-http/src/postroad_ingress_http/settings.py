"""What ingress-http needs to know, beside what every service does."""

import difflib
import json
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.settingproblems import in_words
from postroad_common.settings import (
    BounceSettings,
    DnsSettings,
    MessageSettings,
    ProxySettings,
    ServiceSettings,
    TrackingSettings,
)
from postroad_common.settingvalues import Line, Networks, Port, WebAddress, as_web_address
from postroad_ingress_http.access.rolerules import RoleRules

_MECHANISM = re.compile(r"[+?~-]?(?:a|mx|(?:ip4|ip6|include|a|mx|exists):[^\s:]\S*)", re.ASCII)


class HttpLimits(BaseModel):
    """The section `http` of POSTROAD_LIMITS; all of it holds per process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: int = Field(1000, ge=1, description="Requests in work at once.")
    requests_without_token: int = Field(
        200, ge=1, description="The same of those without a token or a session; apart from them."
    )
    requests_without_token_per_address: int = Field(
        50, ge=1, description="The same of one address or IPv6 /64, their bodies included."
    )
    rate: float = Field(1000.0, gt=0, description="Requests per second with one token, lasting.")
    burst: int = Field(2000, ge=1, description="Requests with one token at once.")
    memory: int = Field(268_435_456, ge=1 << 20, description="Octets of bodies in memory.")
    auth_failures: int = Field(20, ge=1, description="Failed log-ins of one address at once.")
    auth_failures_per_minute: float = Field(
        10.0, gt=0, description="Failed log-ins of one address, lasting."
    )


class IngressLimits(BaseModel):
    """The value of `POSTROAD_LIMITS`: a section for each ingress, of which ours is `http`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    http: HttpLimits = HttpLimits()
    smtp: Any = None
    """What ingress-smtp reads, and checks."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_sections(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors only
                'must be an object with the sections "smtp" and "http"'
            )
        for name in value:
            if name in HttpLimits.model_fields:
                raise ValueError(f'{name} belongs into "http"')
            if name not in cls.model_fields:
                raise ValueError(f'{name} is not a section; there are "smtp" and "http"')
        return value


def _explain(error: ValidationError) -> str:
    """Return the first thing that is wrong, its place, and which name may have been meant."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = in_words(first)
    if first["type"] == "extra_forbidden":
        names = list(HttpLimits.model_fields)
        close = difflib.get_close_matches(str(first["loc"][-1]), names, n=1)
        text = f"is not known; did you mean {close[0]}?" if close else "is not known"
    return f"{where}: {text}" if where else text


class Settings(
    ServiceSettings, MessageSettings, DnsSettings, ProxySettings, BounceSettings, TrackingSettings
):
    """The settings of ingress-http."""

    http_port: Port = Field(default=8080, title="HTTP port", description="REST API and dashboard")
    http_url: WebAddress | None = Field(
        examples=["https://mail.example.com"],
        default=None,
        title="Public URL",
        description="of the REST API and dashboard; https makes the session cookie Secure",
    )
    smtp_address: str = Field(
        examples=["mail.example.com:587:465"],
        default="",
        title="SMTP address",
        description="that applications are told on the page of a login, as HOST:PORT:TLSPORT. "
        "Empty: HOSTNAME:587:465",
    )
    smtp_ca_file: str = Field(
        examples=["/etc/postroad/tls/ca.pem"],
        default="",
        title="CA of SMTP",
        description="file (PEM) of the CA that signed the certificate of SMTP, where that is no "
        "public one: named in the settings on the page of a login, and offered there to download",
    )
    spf_senders: str = Field(
        examples=["ip4:192.0.2.1 ip6:2001:db8::1"],
        default="",
        title="Where mail is sent from",
        description="SPF mechanisms of the addresses that the sender uses, as in ip4:192.0.2.1 "
        "ip6:2001:db8::1; for the record that domains include. Empty: a:HOSTNAME",
    )
    notice_sender: str | None = Field(
        examples=["noreply@mail.example.com"],
        default=None,
        title="Sender of notices",
        description="From address of invitations and links for new passwords; without it and the "
        "public URL none are mailed, and whoever makes one passes it on",
    )
    limits: Annotated[IngressLimits, NoDecode] = Field(
        examples=['{"http":{"rate":100}}'],
        default=IngressLimits(),
        title="Limits",
        description='JSON, as in {"smtp":{"connections":5000},"http":{"rate":100}}; the names are '
        "in docs/smtp.md and docs/rest.md",
    )
    attachment_urls: Literal["any", "https", "off"] = Field(
        default="any",
        title="Attachments by URL",
        description="any: http and https; https only; off: none are fetched",
    )
    attachment_allow_networks: Networks = Field(
        examples=["10.1.2.0/24"],
        default=(),
        title="Private networks that attachments may come from",
        description="comma separated, as in 10.1.2.0/24; whoever may send can then read there. "
        "Every other address that is not public is refused",
    )
    metrics_networks: Networks = Field(
        examples=["10.1.2.0/24"],
        default=(),
        title="Readers of metrics",
        description="networks, comma separated, that read /metrics on the HTTP port without a "
        "token. None behind a proxy on this machine, which makes everybody look local",
    )
    admin_email: str | None = Field(
        examples=["admin@example.com"],
        default=None,
        title="First user",
        description="e-mail address of the dashboard user that is created when there is none",
    )
    admin_password: str | None = Field(
        default=None,
        title="First user's password",
        description="at least 8 characters",
        repr=False,
    )
    admin_token: str | None = Field(
        default=None,
        title="First token",
        description="REST token with every scope, created when it does not exist",
        repr=False,
    )

    oidc_issuer: str | None = Field(
        examples=["https://login.example.com"],
        default=None,
        title="OpenID issuer",
        description="URL of the identity provider that users of the dashboard may log in with, as "
        "its tokens have it; without one they log in by password only",
    )
    oidc_client_id: Line = Field(
        examples=["postroad"],
        default="",
        title="OpenID client",
        description="what the identity provider knows us by",
    )
    oidc_client_secret: Line = Field(
        default="",
        examples=["the secret that the provider shows"],
        title="OpenID client's secret",
        description="empty: a public client",
        repr=False,
    )
    oidc_roles: RoleRules | None = Field(
        examples=['{"claim":"groups","roles":{"mail-admins":"admin"}}'],
        default=None,
        title="OpenID roles",
        description="JSON object: which values of a claim give which role, "
        '`{"claim": "groups", "roles": {"mail-admins": "admin"}, "account": "main"}`',
    )
    oidc_label: Line = Field(
        default="single sign-on",
        title="OpenID label",
        description="what the log-in page calls the identity provider",
    )

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

    @field_validator("admin_email")
    @classmethod
    def _check_email(cls, value: str | None) -> str | None:
        try:
            return parse_mailbox(value).text if value else None
        except AddressError as error:
            raise ValueError(str(error)) from error

    @field_validator("spf_senders")
    @classmethod
    def _check_spf(cls, value: str) -> str:
        for mechanism in value.split():
            if not _MECHANISM.fullmatch(mechanism):
                raise ValueError(f"{mechanism!r} is no SPF mechanism")
        return value

    @field_validator("smtp_address")
    @classmethod
    def _check_smtp_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5}){0,2}", value, re.ASCII):
            raise ValueError("must be HOST:PORT:TLSPORT, as in mail.example.com:587:465")
        return value

    @field_validator("smtp_ca_file")
    @classmethod
    def _check_smtp_ca_file(cls, value: str) -> str:
        if value and not (value.startswith("/") and value.isprintable()):
            raise ValueError("must be an absolute path, as in /etc/postroad/tls/ca.pem")
        return value

    @field_validator("notice_sender")
    @classmethod
    def _check_sender(cls, value: str | None) -> str | None:
        try:
            return parse_mailbox(value).text if value else None
        except AddressError as error:
            raise ValueError(str(error)) from error

    @field_validator("oidc_issuer")
    @classmethod
    def _check_issuer(cls, value: str | None) -> str | None:
        local = ("http://127.0.0.1", "http://localhost", "http://[::1]")
        if value and not value.startswith(("https://", *local)):
            raise ValueError("must start with https://")
        if value:
            as_web_address(value)
        return value or None

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        if self.oidc_issuer and not self.oidc_client_id:
            raise ValueError("POSTROAD_OIDC_ISSUER needs POSTROAD_OIDC_CLIENT_ID")
        return self

    @field_validator("admin_token")
    @classmethod
    def _check_token(cls, value: str | None) -> str | None:
        if value is not None and (len(value) < 16 or not value.isascii() or " " in value):
            raise ValueError(
                "needs at least 16 characters, ASCII without spaces (try: openssl rand -hex 24)"
            )
        return value

    @field_validator("admin_password")
    @classmethod
    def _check_password(cls, value: str | None) -> str | None:
        if value is not None and len(value) < 8:
            raise ValueError("needs at least 8 characters (try: openssl rand -hex 12)")
        return value
