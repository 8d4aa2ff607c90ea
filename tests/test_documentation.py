"""The generated pages say what the code says, and every setting is known by its name."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

from postroad_common.settings_names import KNOWN_SETTINGS

ROOT = Path(__file__).resolve().parent.parent
SERVICES = [path.name.replace("-", "_") for path in sorted((ROOT / "services").iterdir())]
OF_THE_COMMAND = {"url", "token", "state_dir"}


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_known_settings_are_those_of_all_services() -> None:
    fields = set(OF_THE_COMMAND)
    for service in SERVICES:
        fields |= set(import_module(f"postroad_{service}.settings").Settings.model_fields)
    assert fields == KNOWN_SETTINGS
