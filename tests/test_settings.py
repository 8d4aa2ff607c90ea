"""Each setting of each service refuses what it cannot be, and tells its name and an example."""

import os
from importlib import import_module
from pathlib import Path

import pytest

from postroad_common.settingproblems import example_of
from postroad_common.settings import ServiceSettings
from postroad_common.settingsloading import SettingsError, load
from postroad_stack.certificates import Certificates, ensure_certificates

ROOT = Path(__file__).resolve().parent.parent
SERVICES = [path.name for path in sorted((ROOT / "services").iterdir())]
MALFORMED = "\x01[::"
MALFORMED_OF = {"spool_dir": "/dev/null/spool"}  # any other text may be the name of a folder
NEEDED_WITH = {"oidc_issuer": {"oidc_client_id": "postroad"}}
FILES = {"tls_cert", "tls_key", "amqp_ca", "amqp_cert", "amqp_key"} | {
    f"mongodb_{part}" for part in ("ca", "cert", "key")
}
"""Their examples are files that are not here."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return ensure_certificates(tmp_path_factory.mktemp("tls"), ["localhost"])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("POSTROAD_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "amqp_url": "amqp://127.0.0.1/",
        "mongodb_uri": "mongodb://127.0.0.1/postroad",
        "secret": "0123456789abcdef",
        "tls_cert": str(certificates.certificate),
        "tls_key": str(certificates.key),
    }.items():
        monkeypatch.setenv(variable(name), value)
    return monkeypatch


def variable(name: str) -> str:
    return f"POSTROAD_{name.upper()}"


def kind_of(service: str) -> type[ServiceSettings]:
    module = import_module(f"postroad_{service.replace('-', '_')}.settings")
    kind = module.Settings
    assert issubclass(kind, ServiceSettings)
    return kind


@pytest.mark.parametrize("service", SERVICES)
def test_a_malformed_value_is_refused_with_the_name_and_an_example(
    service: str, environment: pytest.MonkeyPatch
) -> None:
    kind = kind_of(service)
    for name in kind.model_fields:
        with environment.context() as changed:
            changed.setenv(variable(name), MALFORMED_OF.get(name, MALFORMED))
            with pytest.raises(SettingsError) as caught:
                load(kind)
        (problem,) = caught.value.problems
        assert problem.startswith(f"{variable(name)}: ")
        assert "as in" in problem or "try: openssl rand" in problem
        assert "Input should be" not in problem


@pytest.mark.parametrize("service", SERVICES)
def test_the_example_that_a_refusal_gives_is_taken(
    service: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kind = kind_of(service)
    for name, field in kind.model_fields.items():
        example = example_of(field)
        if example is None or name in FILES:
            continue
        with environment.context() as changed:
            for other, value in NEEDED_WITH.get(name, {}).items():
                changed.setenv(variable(other), value)
            changed.setenv(variable(name), str(tmp_path) if name == "secrets_dir" else example)
            load(kind)


@pytest.mark.parametrize("value", ["inf", "nan", "1e400"])
def test_a_number_without_end_is_refused(value: str, environment: pytest.MonkeyPatch) -> None:
    kind = kind_of("sender")
    numbers = [name for name, field in kind.model_fields.items() if field.annotation is float]
    assert "max_deliver_seconds" in numbers
    for name in numbers:
        with environment.context() as changed:
            changed.setenv(variable(name), value)
            with pytest.raises(SettingsError, match=variable(name)):
                load(kind)


def test_a_cap_that_names_nothing_known_is_refused_by_the_name_of_the_setting(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("POSTROAD_CAPS", '[{"provider":"nobody","connections":5}]')
    with pytest.raises(SettingsError, match=r"^POSTROAD_CAPS: cap 1: provider: nobody .*as in"):
        load(kind_of("sender"))
