"""What a client may use up: the part of `POSTROAD_LIMITS` that concerns SMTP.

How the counting is done is in `admission` (connections, memory, rates) and `failures` (AUTH).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

_MIB = 1024 * 1024


def _seconds(default: float, description: str) -> Any:
    """Return a field of seconds that must be some."""
    return Field(default=default, gt=0, description=description)


def _count(default: int, description: str, *, least: int = 1) -> Any:
    """Return a field of a number, of octets or of things; `least` is 0 where 0 means any."""
    return Field(default=default, ge=least, description=description)


class SmtpLimits(BaseModel):
    """Limits of one process of ingress-smtp.

    Times in seconds, sizes in octets; 0 means none where the description says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    connections: int = _count(2000, "Open connections to the two submission listeners.")
    connections_per_address: int = _count(500, "Open connections of one IPv4 address or IPv6 /64.")
    connections_before_login: int = _count(
        1500, "Those of them that have not logged in; the others are kept for clients that have."
    )
    connections_before_login_per_address: int = _count(
        250, "The same, of one IPv4 address or IPv6 /64."
    )
    login_grace_seconds: float = Field(
        default=3,
        ge=0,
        description="Seconds that everybody has to log in, however many wait; after them, who has"
        " waited longest makes room for the next when `connections_before_login` are open.",
    )
    connections_per_login: int = _count(500, "Open connections that are logged in as one login.")

    handshake_seconds: float = _seconds(15, "Time for a PROXY header, and for a TLS handshake.")
    login_seconds: float = _seconds(120, "Time from connecting to logging in, whatever is sent.")
    command_seconds: float = _seconds(300, "Time for one command line.")
    data_seconds: float = _seconds(180, "Time that may pass within a message without any octet.")
    minimum_rate: int = _count(
        100,
        "Octets per second that a message must arrive with, on average over each"
        " `data_seconds`; 0: none.",
        least=0,
    )
    close_seconds: float = _seconds(5, "Time a client has to read the last reply.")

    line_length: int = _count(
        998, "Octets of a line of a submitted message without its CRLF; 0: any.", least=0
    )
    header_size: int = _count(
        262_144, "Octets of the header block of a submitted message.", least=1000
    )
    received_headers: int = _count(
        50, "Received headers from which on a submitted message is in a loop."
    )
    memory: int = _count(
        256 * _MIB,
        "Memory for all submitted messages that are being received or handed over.",
        least=_MIB,
    )

    mx_connections: int = _count(500, "Open connections to the MX listener.")
    mx_connections_per_address: int = _count(20, "The same, of one IPv4 address or IPv6 /64.")
    mx_command_seconds: float = _seconds(60, "As `command_seconds`, on the MX listener.")
    mx_data_seconds: float = _seconds(60, "As `data_seconds`, on the MX listener.")
    mx_memory: int = _count(64 * _MIB, "As `memory`, for returns.", least=_MIB)
    mx_message_size: int = _count(
        2 * _MIB, "Octets of a return that are kept; its rest is dropped.", least=1024
    )
    mx_recipients: int = _count(10, "Bounce addresses of one return.")
    mx_returns_per_hour: int = _count(
        60, "Returns to one bounce address in an hour; 0: any number.", least=0
    )
    mx_complaints_per_hour: int = _count(
        3000, "Mails to one address for complaints in an hour; 0: any number.", least=0
    )

    messages_per_minute: int = _count(
        0, "Messages of one login in a minute; 0: any number.", least=0
    )
    recipients_per_minute: int = _count(
        0, "Recipients of one login in a minute; 0: any number.", least=0
    )

    errors: int = _count(20, "Refused commands after which a connection is closed.")
    idle_commands: int = _count(
        100,
        "Commands such as NOOP and RSET between two messages after which a connection is closed.",
    )

    auth_failures_per_connection: int = _count(
        3, "Failed logins after which a connection is closed."
    )
    auth_failures_per_address: int = _count(
        20,
        "Failed logins of one address within `auth_window_seconds` after which it is not"
        " listened to.",
    )
    auth_failures_per_login: int = _count(
        50, "The same for one login name; addresses that it was used from with success are exempt."
    )
    auth_window_seconds: float = _seconds(600, "Time in which failed logins are forgotten.")
    auth_delay_seconds: float = Field(
        default=0.5,
        ge=0,
        description="Delay of the reply to a failed login; doubled with each further one.",
    )
    auth_delay_max_seconds: float = Field(default=5, ge=0, description="The longest such delay.")
    auth_workers: int = _count(2, "Passwords checked at the same time.")
    auth_waiting: int = _count(
        100, "Passwords that may wait to be checked; half of the places are for known addresses."
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

    def of_mx(self) -> "SmtpLimits":
        """Return the limits of a connection to the MX listener."""
        return self.model_copy(
            update={
                "connections": self.mx_connections,
                "connections_per_address": self.mx_connections_per_address,
                "command_seconds": self.mx_command_seconds,
                "data_seconds": self.mx_data_seconds,
                "memory": self.mx_memory,
            }
        )
