"""`make test-deploy`: the overlays, rendered and checked without a cluster."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> None:
    """Take settings out of the environment, which would look like those of a manifest."""
    for name in [name for name in os.environ if name.startswith("POSTROAD_")]:
        if not name.startswith("POSTROAD_TEST_"):
            del os.environ[name]
