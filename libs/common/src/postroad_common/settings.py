"""Settings: typed, from the environment and a folder of secrets, checked at start.

`ServiceSettings` is the parent of every service's settings; the small classes below it are shared
by some of them. An unknown `POSTROAD_*` variable or file stops the service, because a mistyped
name that is ignored is worse than one that is refused.

`POSTROAD_SECRETS_DIR` names a folder where each file is a setting, named like the variable: what
Kubernetes and Docker mount for a secret. A variable of the same name wins.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from postroad_common.servertls import ServerTls
from postroad_common.settingvalues import (
    Domain,
    DomainOrOff,
    ListenAddress,
    Networks,
    Port,
    ReadableFile,
    WebAddress,
    WritableFolder,
    has_host,
)
from postroad_common.tokens import Keyring

PREFIX = "POSTROAD_"


class EnvironmentSettings(BaseSettings):
    """The parent of all settings classes: where they are read from, and how strictly."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True
    )


class ServiceSettings(EnvironmentSettings):
    """What every service needs to know."""

    amqp_url: str = Field(
        examples=["amqp://user:password@127.0.0.1:5672/"],
        title="RabbitMQ",
        description="amqp:// or amqps:// URL; several nodes separated by commas",
    )
    mongodb_uri: str = Field(
        examples=["mongodb://user:password@127.0.0.1:27017/postroad?replicaSet=rs0"],
        title="MongoDB",
        description="mongodb:// URI with the name of the database in its path",
    )
    amqp_ca: ReadableFile | None = Field(
        examples=["/etc/postroad/rabbitmq-ca.pem"],
        default=None,
        title="CA of RabbitMQ",
        description="PEM file of the CA that signed its certificate, with amqps:// URLs; the "
        "system's CAs where none is named",
    )
    amqp_cert: ReadableFile | None = Field(
        examples=["/etc/postroad/rabbitmq-client.pem"],
        default=None,
        title="Certificate for RabbitMQ",
        description="PEM file with the client certificate that is shown to it",
    )
    amqp_key: ReadableFile | None = Field(
        examples=["/etc/postroad/rabbitmq-client-key.pem"],
        default=None,
        title="Key for RabbitMQ",
        description="PEM file with the key of that certificate, not encrypted; not needed where "
        "the certificate's file has it",
    )
    mongodb_ca: ReadableFile | None = Field(
        examples=["/etc/postroad/mongodb-ca.pem"],
        default=None,
        title="CA of MongoDB",
        description="PEM file of the CA that signed its certificate; turns TLS on",
    )
    mongodb_cert: ReadableFile | None = Field(
        examples=["/etc/postroad/mongodb-client.pem"],
        default=None,
        title="Certificate for MongoDB",
        description="PEM file with the client certificate that is shown to it; turns TLS on",
    )
    mongodb_key: ReadableFile | None = Field(
        examples=["/etc/postroad/mongodb-client-key.pem"],
        default=None,
        title="Key for MongoDB",
        description="PEM file with the key of that certificate, not encrypted; not needed where "
        "the certificate's file has it",
    )
    secret: Annotated[tuple[str, ...], NoDecode] = Field(
        title="Master key",
        description="signs links and bounce addresses; at least 16 characters. A comma-separated "
        "list rotates: the first signs, all verify",
        repr=False,
    )
    hostname: Domain = Field(
        examples=["mail.example.com"],
        default="localhost",
        title="Host name",
        description="used in banners, EHLO and trace headers",
    )
    bind: ListenAddress = Field(
        examples=["0.0.0.0"],
        default="127.0.0.1",
        title="Listen address",
        description="0.0.0.0 or :: inside a container",
    )
    metrics_port: Port = Field(
        default=9400,
        title="Operations port",
        description="/livez, /readyz and /metrics; 0 takes a free one",
    )
    reuse_port: bool = Field(
        default=False,
        title="Share listening ports",
        description="SO_REUSEPORT, so that several processes of one service share a port",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", title="Log level", description="the least severe level that is written"
    )
    log_format: Literal["json", "console"] = Field(
        default="json", title="Log format", description="json for machines, console for people"
    )
    secrets_dir: Path | None = Field(
        examples=["/etc/postroad/secrets"],
        default=None,
        title="Folder of secrets",
        description="each file in it is a setting, named like the variable (POSTROAD_SECRET); the "
        "variable wins where both are there",
    )
    grace_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=25.0,
        title="Grace time",
        description="seconds between SIGTERM and the end of what has not finished by then",
    )
    inline_body_max: Annotated[int, Field(ge=0, le=8_388_608)] = Field(
        default=262_144,
        title="Largest body on the broker",
        description="octets; larger bodies are stored once and travel as a reference",
    )
    bundle_mails: Annotated[int, Field(ge=1, le=64)] = Field(
        default=16,
        title="Mails per AMQP message",
        description="most submissions that share an AMQP message because they arrive at the same "
        "moment; 1 while services run that cannot read such messages "
        "(docs/operations/upgrade.md)",
    )

    @field_validator("amqp_url")
    @classmethod
    def _check_amqp(cls, value: str) -> str:
        for part in (part.strip() for part in value.split(",")):
            if not part.startswith(("amqp://", "amqps://")) or not has_host(part):
                raise ValueError("must start with amqp:// or amqps://, with a host after it")
        return value

    @property
    def amqp_tls(self) -> ServerTls:
        """How RabbitMQ is spoken to where its URL begins with amqps."""
        return ServerTls(self.amqp_ca, self.amqp_cert, self.amqp_key)

    @property
    def mongodb_tls(self) -> ServerTls:
        """How MongoDB is spoken to, beside what its URI says."""
        return ServerTls(self.mongodb_ca, self.mongodb_cert, self.mongodb_key)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        for server, chosen in (("AMQP", self.amqp_tls), ("MONGODB", self.mongodb_tls)):
            name = f"{PREFIX}{server}"
            if chosen.key and not chosen.certificate:
                raise ValueError(f"{name}_KEY without {name}_CERT")
            if chosen:
                try:
                    chosen.context()
                except OSError as error:
                    text = f"{name}_CA, _CERT or _KEY cannot be used: {error}"
                    raise ValueError(text) from error
        if self.amqp_tls and not self.amqp_url.startswith("amqps://"):
            raise ValueError(f"{PREFIX}AMQP_CA and _CERT need a {PREFIX}AMQP_URL with amqps://")
        return self

    @field_validator("mongodb_uri")
    @classmethod
    def _check_mongodb(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        hosts = rest.partition("/")[0].rpartition("@")[2]
        if scheme not in {"mongodb", "mongodb+srv"} or not all(hosts.split(",")):
            raise ValueError("must start with mongodb:// or mongodb+srv://, with hosts after it")
        return value

    @field_validator("secret", mode="before")
    @classmethod
    def _split_secret(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, tuple) and (not value or any(len(str(key)) < 16 for key in value)):
            raise ValueError("each key needs at least 16 characters (try: openssl rand -hex 32)")
        if isinstance(value, tuple):
            Keyring(value)
        return value


class TrackingSettings(EnvironmentSettings):
    """Where tracked links lead."""

    tracking_url: WebAddress = Field(
        examples=["https://click.example.com"],
        default="http://localhost:8081",
        title="Tracking URL",
        description="public base URL of the tracker, used in rewritten links",
    )


class BounceSettings(EnvironmentSettings):
    """Whose addresses collect bounces."""

    bounce_domain: Domain = Field(
        examples=["bounce.example.com"],
        default="bounce.localhost",
        title="Bounce domain",
        description="domain of the signed envelope addresses; its MX is the MX listener",
    )
    bounce_max_age_days: float = Field(
        default=60.0,
        gt=0,
        le=3660,
        title="Life of a bounce address",
        description="days after which returned mail to it is refused",
    )
    feedback_name: str = Field(
        default="fbl",
        pattern="^[a-z][a-z0-9]{1,19}$",
        title="Address for complaints",
        description="local part at the bounce domain to which providers' feedback loops send "
        "complaints; the secret ones, at GET /v1/feeds, begin with it",
    )


class SimulatorSettings(EnvironmentSettings):
    """Where mail that only tries things out goes."""

    simulator_domain: DomainOrOff = Field(
        default="simulator.invalid",
        title="Simulator",
        description="domain whose addresses (delivered@, bounced@ and others) act as their names "
        "say, without a server; mail to it never leaves. `off`: there is none",
    )


class MessageSettings(EnvironmentSettings):
    """Limits of one message, the same on every way in."""

    max_message_size: int = Field(
        default=31_457_280,
        ge=1024,
        le=1_073_741_824,
        title="Largest message",
        description="octets of MIME, headers included (30 MiB)",
    )
    max_recipients: int = Field(
        default=1000, ge=1, le=100_000, title="Most recipients", description="per message"
    )
    max_deliver_seconds: float = Field(
        default=86_400.0,
        gt=0,
        le=31_536_000,
        title="Delivery time",
        description="seconds after which a message that could not be delivered is given up",
    )


class SpoolSettings(EnvironmentSettings):
    """Where a service keeps small files of its own."""

    spool_dir: WritableFolder | None = Field(
        examples=["/var/lib/postroad/spool"],
        default=None,
        title="Spool folder",
        description="private folder of this process for journals and spools; none without it",
    )


class DnsSettings(EnvironmentSettings):
    """Which resolver to ask."""

    dns: str | None = Field(
        examples=["127.0.0.1:53"],
        default=None,
        title="Resolver",
        description="host:port to use instead of the system's",
    )

    @field_validator("dns")
    @classmethod
    def _check_dns(cls, value: str | None) -> str | None:
        if value is not None:
            host, colon, port = value.rpartition(":")
            if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError("must have the form host:port, as in 127.0.0.1:5353")
        return value


class ProxySettings(EnvironmentSettings):
    """Of services that answer HTTP from outside."""

    trusted_proxies: Networks = Field(
        examples=["10.1.2.0/24"],
        default=(),
        title="Trusted proxies",
        description="networks, comma separated, whose X-Forwarded-For is believed",
    )
