"""What ingress-http needs to know, beside what every service does."""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import NoDecode

from postroad_common.settings import DnsSettings, MessageSettings, ServiceSettings


class HttpLimits(BaseModel):
    """The part of POSTROAD_LIMITS that is about HTTP; other parts are for other services."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    http_requests: int = Field(1000, ge=1, description="requests in work at once")
    http_rate: float = Field(1000.0, gt=0, description="requests per second and token, lasting")
    http_burst: int = Field(2000, ge=1, description="requests per token at once")
    http_memory: int = Field(268_435_456, ge=1 << 20, description="octets of bodies in memory")
    auth_failures: int = Field(20, ge=1, description="failed log-ins per address at once")
    auth_failures_per_minute: float = Field(10.0, gt=0, description="failed log-ins, lasting")


class HttpSettings(ServiceSettings, MessageSettings, DnsSettings):
    """The settings of ingress-http."""

    http_port: int = Field(
        default=8080, ge=0, le=65535, title="HTTP port", description="REST API and dashboard"
    )
    http_url: str | None = Field(
        default=None,
        title="Public URL",
        description="of the REST API and dashboard; https makes the session cookie Secure",
    )
    limits: Annotated[HttpLimits, NoDecode] = Field(
        default_factory=HttpLimits,
        title="Limits",
        description="JSON of connection, rate and AUTH limits of the ingresses",
    )
    admin_email: str | None = Field(
        default=None,
        title="First user",
        description="e-mail address of the dashboard user that is created when there is none",
    )
    admin_password: str | None = Field(
        default=None, title="First user's password", description="at least 8 characters", repr=False
    )
    admin_token: str | None = Field(
        default=None,
        title="First token",
        description="REST token with every scope, created when it does not exist",
        repr=False,
    )

    @field_validator("limits", mode="before")
    @classmethod
    def _read_limits(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"must be JSON: {error}") from error

    @field_validator("http_url")
    @classmethod
    def _check_http_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else None

    @field_validator("admin_token")
    @classmethod
    def _check_token(cls, value: str | None) -> str | None:
        if value is not None and (len(value) < 16 or not value.isascii() or " " in value):
            raise ValueError("needs at least 16 characters, ASCII without spaces")
        return value

    @field_validator("admin_password")
    @classmethod
    def _check_password(cls, value: str | None) -> str | None:
        if value is not None and len(value) < 8:
            raise ValueError("needs at least 8 characters")
        return value
