"""Every mail of tests/data, in the style of many servers, is understood as expected.toml says."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from postroad_bounce_processor.understanding.record import ReturnKind
from postroad_bounce_processor.understanding.understand import understand
from postroad_common.mail.mime import Part, read

DATA = Path(__file__).parent / "data"
EXPECTED: dict[str, dict[str, Any]] = tomllib.loads(
    (DATA / "expected.toml").read_text(encoding="utf-8")
)
RECIPIENT = "kim@example.net"


def _mail(name: str) -> Part:
    return read((DATA / f"{name}.eml").read_bytes())


def _understood(name: str) -> Any:
    wanted = EXPECTED[name]
    return understand(
        _mail(name),
        expected=wanted.get("expected", RECIPIENT),
        mail_from=wanted.get("mail_from", ""),
    )


def test_each_mail_has_an_expectation_and_each_expectation_a_mail():
    assert {path.stem for path in DATA.glob("*.eml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_returned_mail_is_understood(name: str):
    found = _understood(name)
    got = {
        "kind": found.kind.value,
        "source": found.source.value,
        "class": found.bounce_class or "",
        "hard": found.hard,
        "code": found.code,
        "enhanced": found.enhanced,
        "recipient": found.recipient,
        "detail": found.detail,
        "host": found.reporting_host,
        "remote": found.remote_host,
    }
    wanted = {key: value for key, value in EXPECTED[name].items() if key in got}
    assert {key: got[key] for key in wanted} == wanted


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_without_knowing_the_recipient_the_kind_is_the_same(name: str):
    wanted = EXPECTED[name]
    found = understand(_mail(name), mail_from=wanted.get("mail_from", ""))
    assert found.kind.value == wanted["kind"]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mail_about_somebody_else_never_condemns_the_recipient(name: str):
    found = understand(
        _mail(name),
        expected="somebody.else@example.org",
        mail_from=EXPECTED[name].get("mail_from", ""),
    )
    assert not found.hard


def test_nothing_but_a_bounce_is_ever_hard():
    for name in EXPECTED:
        found = _understood(name)
        assert found.kind is ReturnKind.BOUNCE or not found.hard
