"""The stack document: what a running stack tells about itself.

`postroad up --json` and `postroad status --json` print it; tests, benchmarks and other people's
clients read it. Field names are fixed by the contract with them. How a process is doing is in
`postroad_stack.status`.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ListenerInfo(_Part):
    """An SMTP listener. `tls` is `starttls`, `implicit`, or None where it is only offered."""

    host: str
    port: int
    tls: str | None = None


class DashboardInfo(_Part):
    """Where the dashboard is and who may log in."""

    url: str
    email: str
    password: str


class SinkInfo(_Part):
    """The local mail sink: takes mail for every address and shows it."""

    smtp_port: int
    http: str


class LoginInfo(_Part):
    """An SMTP login."""

    username: str
    password: str


class StackDocument(_Part):
    """Addresses, logins and processes of one stack. Parts that do not run are None or missing."""

    smtp: ListenerInfo | None = None
    smtps: ListenerInfo | None = None
    mx: ListenerInfo | None = None
    http: str | None = None
    tracker: str | None = None
    dashboard: DashboardInfo | None = None
    sink: SinkInfo | None = None
    credential: LoginInfo | None = None
    token: str | None = None
    prometheus: str | None = None
    ca: str
    amqp: str
    mongodb: str
    metrics: dict[str, list[str]]
    pids: dict[str, list[int]]
    state_dir: str

    def fields(self) -> dict[str, Any]:
        """Return the document as what JSON can hold; without what is None."""
        return self.model_dump(mode="json", exclude_none=True)
