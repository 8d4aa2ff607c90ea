"""The command starts with what the subcommand needs and nothing else."""

import subprocess
import sys

import pytest

from postroad_cli.commands import SUBCOMMANDS, load

# Each of these takes longer to import than all of the command.
HEAVY = (
    *("httpx", "rich", "pydantic", "aio_pika", "pymongo", "docker", "cryptography"),
    *("fastapi", "structlog", "psutil"),
)
API = [place.module for place in SUBCOMMANDS.values() if place.module.startswith("api.")]


def imported(*modules: str) -> set[str]:
    done = subprocess.run(
        (sys.executable, "-c", f"import sys, {', '.join(modules)}; print(*sys.modules)"),
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    return {name for name in HEAVY if name in done.stdout.split()}


def test_help_needs_no_library_but_click():
    assert imported("postroad_cli.main") == set()


def test_commands_of_the_rest_api_need_no_more_until_they_show_something():
    assert imported(*(f"postroad_cli.{module}" for module in API)) == set()


@pytest.mark.parametrize("module", ["local.status", "local.up", "local.down"])
def test_subcommands_need_no_server_and_no_http_library(module: str):
    assert imported(f"postroad_cli.{module}") <= {"rich", "pydantic", "psutil"}


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_list_of_subcommands_says_what_each_says_of_itself(name: str):
    assert load(name).get_short_help_str(200) == SUBCOMMANDS[name].help
