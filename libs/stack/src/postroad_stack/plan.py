"""What a stack shall run: written by `postroad up`, read by the supervisor it starts."""

import json
from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, field_validator

from postroad_stack.errors import StackError

SERVICES = (
    "ingress-smtp",
    "ingress-http",
    "transformer",
    "sender",
    "bounce-processor",
    "tracker",
    "feedback",
)
SERVERS = ("rabbitmq", "mongod")
SINK = "sink"
CLUSTER = 3
"""Nodes of a cluster: two are a majority when one is gone."""
LEAST_ROOM_MB = 256
"""With less on its disk the broker takes no mail."""
EVERYTHING = (*SERVERS, *SERVICES, SINK)


class ServerSource(StrEnum):
    """Where a server comes from."""

    GIVEN = "given"
    DOCKER = "docker"
    PROGRAM = "program"


class ServerChoice(BaseModel):
    """How one server is had: the URL of a running one, a container image, or a program."""

    model_config = ConfigDict(frozen=True)

    source: ServerSource
    where: str
    library_path: str | None = None

    @property
    def words(self) -> str:
        """Say where it comes from, without passwords."""
        match self.source:
            case ServerSource.GIVEN:
                return "given by URL"
            case ServerSource.DOCKER:
                return f"Docker image {self.where}"
            case ServerSource.PROGRAM:
                return self.where


class StackPlan(BaseModel):
    """Everything the supervisor needs to know beside ports and secrets.

    `prometheus` is the path of its program, None where it is not wanted. `nodes`: how many of the
    broker, and as many of the database.
    """

    model_config = ConfigDict(frozen=True)

    rabbitmq: ServerChoice
    mongod: ServerChoice
    environment: dict[str, str] = {}
    replicas: dict[str, int] = {}
    only: tuple[str, ...] = EVERYTHING
    prometheus: str | None = None
    scrape_seconds: float = 5.0
    nodes: int = 1

    @field_validator("replicas")
    @classmethod
    def _known_services(cls, value: dict[str, int]) -> dict[str, int]:
        check_replicas(value)
        return value

    def count(self, service: str) -> int:
        """Return how many processes of this service shall run."""
        return self.replicas.get(service, 1)


def check_replicas(replicas: dict[str, int]) -> None:
    """Refuse what is no service or no sensible number.

    Raises:
        StackError: with the allowed values.
    """
    for service, number in replicas.items():
        if service not in SERVICES:
            raise StackError(
                f"there is no service {service!r}", advice=f"services: {', '.join(SERVICES)}"
            )
        if not 1 <= number <= _MOST_REPLICAS:
            raise StackError(f"{service}: between 1 and {_MOST_REPLICAS} replicas can run here")


_MOST_REPLICAS = 32


def fixed_ports(environment: Mapping[str, str], replicas: Mapping[str, int]) -> dict[str, int]:
    """Return the ports that the user fixed, by the name they have in the port book.

    `POSTROAD_METRICS_PORT` is the port of the first process; the others have the next ones.

    Raises:
        StackError: a value is no port number.
    """
    fixed = {
        name: _port_number(variable, environment[variable])
        for name, variable in LISTENER_PORTS.items()
        if variable in environment
    }
    if METRICS_PORT in environment:
        first = _port_number(METRICS_PORT, environment[METRICS_PORT])
        names = [
            metrics_name(service, replica)
            for service in SERVICES
            for replica in range(replicas.get(service, 1))
        ]
        fixed |= {name: first + number for number, name in enumerate(names)}
    return fixed


def metrics_name(service: str, replica: int) -> str:
    """Return the name in the port book of the operations port of one process."""
    return f"metrics.{service}.{replica}"


def _port_number(variable: str, text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _HIGHEST_PORT:
        raise StackError(
            f"{variable}={json.dumps(text)} is no port number",
            advice=f"a port is a number from 1 to {_HIGHEST_PORT}, as in {variable}=8080",
        )
    return int(text)


METRICS_PORT = "POSTROAD_METRICS_PORT"
_HIGHEST_PORT = 65_535
LISTENER_PORTS = {
    "smtp": "POSTROAD_SMTP_PORT",
    "smtps": "POSTROAD_SMTPS_PORT",
    "mx": "POSTROAD_MX_PORT",
    "http": "POSTROAD_HTTP_PORT",
    "tracker": "POSTROAD_TRACKER_PORT",
}
