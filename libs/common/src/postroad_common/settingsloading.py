"""Settings read from the environment and a folder of secrets: every problem is told at once."""

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from postroad_common.settingproblems import example_of, in_words, unknown, with_example
from postroad_common.settings import PREFIX, ServiceSettings
from postroad_common.settings_names import KNOWN_SETTINGS

_SECRETS_DIR = "POSTROAD_SECRETS_DIR"
_TESTS = "POSTROAD_TEST_"  # tells the tests which servers to use, and may stand in any shell
S = TypeVar("S", bound=ServiceSettings)


class SettingsError(Exception):
    """The environment is wrong; `problems` has one line each, saying what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(kind: type[S]) -> S:
    """Return the settings of one service from the environment.

    Raises:
        SettingsError: with every problem found, secrets left out.
    """
    folder, names = _secrets()
    known = [PREFIX + field.upper() for field in KNOWN_SETTINGS]
    problems = [unknown(name, known) for name in names if _is_unknown(name, kind)]
    if folder is not None and not folder.is_dir():
        text = f"{folder} is no folder that can be read"
        field = kind.model_fields["secrets_dir"]
        raise SettingsError([with_example(_SECRETS_DIR, text, field)])
    try:
        settings = kind(_secrets_dir=folder)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            text = in_words(item)
            if not item["loc"]:  # of several settings together: it names them itself
                problems.append(text)
                continue
            name = str(item["loc"][0])
            field = kind.model_fields[name]
            problems.append(with_example(PREFIX + name.upper(), text, field))
        raise SettingsError(sorted(problems)) from error
    except ValueError as error:  # pydantic-settings: a value that should be JSON and is not
        raise SettingsError([*problems, str(error)]) from error
    if problems:
        raise SettingsError(sorted(problems))
    return settings


def _secrets() -> tuple[Path | None, list[str]]:
    """Return the folder of secrets, if one is named, and all names of variables and files.

    What a volume of Kubernetes has beside the files (`..data`) has no name of a setting.
    """
    given = os.environ.get(_SECRETS_DIR)
    folder = Path(given) if given else None
    try:
        files = [entry.name for entry in folder.iterdir()] if folder else []
    except OSError:
        files = []
    return folder, [*os.environ, *files]


def _is_unknown(name: str, kind: type[ServiceSettings]) -> bool:
    if not name.startswith(PREFIX) or name.startswith(_TESTS):
        return False
    field = name.removeprefix(PREFIX).lower()
    return field not in KNOWN_SETTINGS and field not in kind.model_fields


def load_or_exit(service: str, kind: type[S]) -> S:
    """As `load`, but a wrong environment ends the process with status 2 and a line per problem."""
    try:
        return load(kind)
    except SettingsError as error:
        for problem in error.problems:
            sys.stderr.write(f"postroad {service}: {problem}\n")
        sys.stderr.write("Every setting is described in docs/configuration.md\n")
        raise SystemExit(2) from error


def describe(kind: type[BaseSettings]) -> list[dict[str, Any]]:
    """Name, title, description, default and example of every setting of `kind`, for the docs."""
    return [
        {
            "name": PREFIX + name.upper(),
            "title": field.title or "",
            "description": field.description or "",
            "default": "required" if field.is_required() else field.get_default(),
            "example": example_of(field),
        }
        for name, field in kind.model_fields.items()
    ]
