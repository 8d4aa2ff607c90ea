"""`make test-deploy`: the overlays, rendered and checked without a cluster."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from postroad_stack.servers import debian

sys.path.insert(0, str(Path(__file__).parent))
from rendering import OVERLAYS, Manifest, overlay


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest) -> list[Manifest]:
    """Return the objects of each overlay in turn."""
    return overlay(request.param)


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> None:
    """Take settings out of the environment, which would look like those of a manifest."""
    for name in [name for name in os.environ if name.startswith("POSTROAD_")]:
        if not name.startswith("POSTROAD_TEST_"):
            del os.environ[name]


@pytest.fixture(scope="session")
def promtool() -> str:
    """Return the tool that comes with Prometheus; both are installed where that may be done."""
    if shutil.which("promtool") is None:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("prometheus is not installed, and installing it needs Debian and root")
        debian.install(("prometheus",), lambda _text: None)
    found = shutil.which("promtool")
    assert found is not None
    return found
