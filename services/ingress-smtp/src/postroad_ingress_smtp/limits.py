"""What a client may use up: the part of `POSTROAD_LIMITS` that concerns SMTP.

How the counting is done is in `admission` (connections, memory, rates) and `failures` (AUTH).
"""

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Limits of one process of ingress-smtp.

    Times in seconds, sizes in octets; 0 means none where the description says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    connections: int = Field(default=2000, ge=1, description="Open connections in all.")
    connections_per_address: int = Field(
        default=500, ge=1, description="Open connections of one IPv4 address or IPv6 /64."
    )
    connections_per_login: int = Field(
        default=500, ge=1, description="Open connections that are logged in as one login."
    )

    handshake_seconds: float = Field(
        default=15, gt=0, description="Time for a PROXY header, and for a TLS handshake."
    )
    login_seconds: float = Field(
        default=120, gt=0, description="Time from connecting to logging in, whatever is sent."
    )
    command_seconds: float = Field(default=300, gt=0, description="Time for one command line.")
    data_seconds: float = Field(
        default=180, gt=0, description="Time that may pass within a message without any octet."
    )
    minimum_rate: int = Field(
        default=100,
        ge=0,
        description="Octets per second that a message must arrive with on average, after its"
        " first `data_seconds`; 0: none.",
    )
    close_seconds: float = Field(
        default=5, gt=0, description="Time a client has to read the last reply."
    )

    line_length: int = Field(
        default=998,
        ge=0,
        description="Octets of a line of a submitted message without its CRLF; 0: any.",
    )
    header_size: int = Field(default=262_144, ge=1000, description="Octets of a header block.")
    received_headers: int = Field(
        default=50, ge=1, description="Received headers from which on a message is in a loop."
    )
    memory: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Memory for all messages that are being received or handed over.",
    )

    messages_per_minute: int = Field(
        default=0, ge=0, description="Messages of one login in a minute; 0: any number."
    )
    recipients_per_minute: int = Field(
        default=0, ge=0, description="Recipients of one login in a minute; 0: any number."
    )

    errors: int = Field(
        default=20, ge=1, description="Refused commands after which a connection is closed."
    )
    idle_commands: int = Field(
        default=100,
        ge=1,
        description="Commands such as NOOP and RSET between two messages after which a"
        " connection is closed.",
    )

    auth_failures_per_connection: int = Field(
        default=3, ge=1, description="Failed logins after which a connection is closed."
    )
    auth_failures_per_address: int = Field(
        default=20,
        ge=1,
        description="Failed logins of one address within `auth_window_seconds` after which it"
        " is not listened to.",
    )
    auth_failures_per_login: int = Field(
        default=50,
        ge=1,
        description="The same for one login name; addresses that it was used from with success"
        " are exempt.",
    )
    auth_window_seconds: float = Field(
        default=600, gt=0, description="Time in which failed logins are forgotten."
    )
    auth_delay_seconds: float = Field(
        default=0.5,
        ge=0,
        description="Delay of the reply to a failed login; doubled with each further one.",
    )
    auth_delay_max_seconds: float = Field(default=5, ge=0, description="The longest such delay.")
    auth_workers: int = Field(default=2, ge=1, description="Passwords checked at the same time.")
    auth_waiting: int = Field(
        default=100, ge=1, description="Passwords that may wait to be checked."
    )
    auth_cache_seconds: float = Field(
        default=60, ge=0, description="Time for which a password, once checked, is remembered."
    )
    auth_refresh_seconds: float = Field(
        default=3,
        ge=0,
        description="Age at which a login is looked up again; so long does a disabled one work.",
    )
    auth_stale_seconds: float = Field(
        default=3600,
        ge=0,
        description="Age up to which a login may be used while the database is away.",
    )
