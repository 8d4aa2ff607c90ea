"""The engine of all these tests; the modules beside them are found by their names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from engine import Engine, engine


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Yield the engine that answers, or one of our own."""
    with engine(tmp_path_factory.mktemp("engine")) as found:
        yield found
