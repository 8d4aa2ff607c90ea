"""The composition, without an engine: what `setup` makes, and what the dashboard tells programs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).resolve().parent.parent / "docker"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Run `setup` in a folder whose .env names the host; return its certificate."""
    shutil.copy(DOCKER / "setup", tmp_path)
    (tmp_path / ".env").write_text("HTTP_PORT=8443\nPOSTROAD_HOSTNAME='mail.shop.example'\n")
    (tmp_path / ".env").open("a").write("POSTROAD_ADMIN_EMAIL=it@shop.example\n")
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [tmp_path / "setup"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "it@shop.example" in done.stdout
    return tmp_path / "state" / "tls" / "tls.crt"


def test_certificate_of_setup_is_for_the_name_in_env_and_can_be_trusted(made: Path) -> None:
    strict = ("-x509_strict", "-verify_hostname", "mail.shop.example")
    done = subprocess.run(
        ["openssl", "verify", *strict, "-CAfile", made, made],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboard_tells_programs_the_ports_and_the_certificate_of_this_composition() -> None:
    service = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["ingress-http"]
    settings = service["environment"]
    assert settings["POSTROAD_SMTP_ADDRESS"].endswith(
        ":${SUBMISSION_PORT:-587}:${SUBMISSIONS_PORT:-465}"
    )
    _, _, place = settings["POSTROAD_SMTP_CA_FILE"].removesuffix("}").partition("-")
    assert f"${{TLS_DIR:-./state/tls}}/tls.crt:{place}:ro" in service["volumes"]
