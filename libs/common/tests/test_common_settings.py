import os
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad_common.settings import BounceSettings, ServiceSettings
from postroad_common.settingsloading import SettingsError, load
from postroad_common.tokens import Keyring

GOOD = {
    "POSTROAD_AMQP_URL": "amqp://127.0.0.1/",
    "POSTROAD_MONGODB_URI": "mongodb://127.0.0.1/postroad",
    "POSTROAD_SECRET": "0123456789abcdef",
}


class Settings(ServiceSettings, BounceSettings):
    pass


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("POSTROAD_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def problems(environment: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    def problems(**changes: str) -> list[str]:
        for name, value in changes.items():
            environment.setenv(name, value)
        with pytest.raises(SettingsError) as caught:
            load(Settings)
        return caught.value.problems

    return problems


def test_good_environment_is_read(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("POSTROAD_SECRET", "a" * 16 + ", " + "b" * 16)
    settings = load(Settings)
    assert settings.secret == ("a" * 16, "b" * 16)
    assert settings.inline_body_max == 262_144


def test_unknown_setting_is_refused_with_a_suggestion(problems: Callable[..., list[str]]) -> None:
    assert problems(POSTROAD_BOUNCE_DOMIAN="x.test") == [
        "POSTROAD_BOUNCE_DOMIAN: no such setting; did you mean POSTROAD_BOUNCE_DOMAIN?"
    ]


def test_setting_of_another_service_is_let_pass(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("POSTROAD_SMTP_PORT", "25")
    assert load(Settings).metrics_port == 9400


def test_every_problem_is_named_at_once_and_no_secret_is_shown(
    problems: Callable[..., list[str]],
) -> None:
    found = problems(
        POSTROAD_METRICS_PORT="many", POSTROAD_SECRET="tooshort", POSTROAD_AMQP_URL="http://x/"
    )
    assert [problem.split(":")[0] for problem in found] == [
        "POSTROAD_AMQP_URL",
        "POSTROAD_METRICS_PORT",
        "POSTROAD_SECRET",
    ]
    assert "tooshort" not in " ".join(found)


def test_secrets_that_cannot_be_told_apart_are_refused(problems: Callable[..., list[str]]) -> None:
    first = "the first secret"
    twin = next(
        text
        for number in range(10_000)
        if Keyring([text := f"another secret {number}"]).key_id == Keyring([first]).key_id
    )
    assert problems(POSTROAD_SECRET=f"{first},{twin}") == [
        "POSTROAD_SECRET: two secrets cannot be told apart: make another new one"
    ]


def test_missing_setting_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("POSTROAD_AMQP_URL")
    with pytest.raises(SettingsError) as caught:
        load(Settings)
    assert caught.value.problems == [
        "POSTROAD_AMQP_URL: is required, as in POSTROAD_AMQP_URL=amqp://user:password@127.0.0.1:5672/"
    ]


def test_bounce_domain_is_normalised(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("POSTROAD_BOUNCE_DOMAIN", "Bounce.EXAMPLE.com")
    assert load(Settings).bounce_domain == "bounce.example.com"


def test_bounce_domain_that_is_none_is_refused(problems: Callable[..., list[str]]) -> None:
    (problem,) = problems(POSTROAD_BOUNCE_DOMAIN="not a domain")
    assert problem == (
        "POSTROAD_BOUNCE_DOMAIN: the domain is not a valid host name, "
        "as in POSTROAD_BOUNCE_DOMAIN=bounce.example.com"
    )


def test_secrets_are_read_from_a_folder_and_a_variable_wins(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "POSTROAD_SECRET").write_text("from-a-file-0123456789\n")
    (tmp_path / "POSTROAD_AMQP_URL").write_text("amqp://from.a.file/")
    (tmp_path / "..data").mkdir()  # as in a volume of Kubernetes
    environment.delenv("POSTROAD_SECRET")
    environment.setenv("POSTROAD_SECRETS_DIR", str(tmp_path))
    settings = load(Settings)
    assert settings.secret == ("from-a-file-0123456789",)
    assert settings.amqp_url == GOOD["POSTROAD_AMQP_URL"]


def test_mistyped_file_of_a_secret_is_refused(
    problems: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "POSTROAD_SECRETT").write_text("0123456789abcdef")
    assert problems(POSTROAD_SECRETS_DIR=str(tmp_path)) == [
        "POSTROAD_SECRETT: no such setting; did you mean POSTROAD_SECRET?"
    ]


def test_folder_of_secrets_that_is_not_there_is_named(
    problems: Callable[..., list[str]], tmp_path: Path
) -> None:
    (problem,) = problems(POSTROAD_SECRETS_DIR=str(tmp_path / "gone"))
    assert problem == (
        f"POSTROAD_SECRETS_DIR: {tmp_path / 'gone'} is no folder that can be read, "
        "as in POSTROAD_SECRETS_DIR=/etc/postroad/secrets"
    )
