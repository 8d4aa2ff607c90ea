"""The command starts with what the subcommand needs and nothing else."""

import subprocess
import sys

import pytest

from postroad_cli.commands import SUBCOMMANDS, load

# Each of these takes longer to import than all of the command.
HEAVY = ("httpx", "rich", "pydantic", "aio_pika", "pymongo", "docker", "cryptography")


def imported(module: str) -> set[str]:
    done = subprocess.run(
        (sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return {name for name in HEAVY if name in done.stdout.split()}


def test_help_needs_no_library_but_click():
    assert imported("postroad_cli.main") == set()


@pytest.mark.parametrize("module", ["api.lanes", "local.status", "local.up", "local.down"])
def test_subcommands_need_no_server_and_no_http_library(module: str):
    assert imported(f"postroad_cli.{module}") <= {"rich", "pydantic"}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_list_of_subcommands_says_what_each_says_of_itself(name: str):
    assert load(name).get_short_help_str(200) == SUBCOMMANDS[name].help
