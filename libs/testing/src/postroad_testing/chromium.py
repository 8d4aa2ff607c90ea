"""The Chromium of the distribution, which Playwright drives in tests of the dashboard."""

import os

from postroad_testing.programs import find_program


def chromium_path() -> str:
    """Return the path of a Chromium; where there is none and none can be installed, skip."""
    return find_program("chromium")


def chromium_flags() -> list[str]:
    """Return what it is started with: small /dev/shm of containers, root has no sandbox."""
    return ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
