"""The stack that the command is tried on."""

from collections.abc import Iterator

import pytest

from postroad_stack.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("command") / "stack"
    with Stack.start(folder, replicas={"sender": 2, "ingress-smtp": 2}) as started:
        yield started
        started.stop(wipe=True)
