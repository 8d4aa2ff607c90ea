"""The layout of one machine: installed into a folder, checked by systemd, and run by its files."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from expressions import MONITORING

from postroad_common.broker import rightsmaking
from postroad_common.store import rolemaking
from postroad_stack.certificates import ensure_certificates
from postroad_stack.plan import SERVICES
from postroad_testing.ports import free_port
from postroad_testing.waiting import wait_until

HERE = MONITORING.parent / "systemd"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with everything that `install` makes."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([str(HERE / "install"), str(folder)], check=True, capture_output=True)
    return folder


def settings(file: Path) -> dict[str, str]:
    """Return what an EnvironmentFile says."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_a_second_installation_keeps_secrets_and_settings(root: Path) -> None:
    def contents() -> dict[Path, str]:
        return {path: path.read_text() for path in root.rglob("*") if path.is_file()}

    changed = root / "etc/postroad/postroad.env"
    changed.write_text(changed.read_text().replace("mail.example.com", "mx1.example.com"))
    before = contents()
    subprocess.run([str(HERE / "install"), str(root)], check=True, capture_output=True)
    assert contents() == before


@pytest.mark.parametrize(("mode", "said"), [(0o755, False), (0o700, True)])
def test_folder_that_the_services_may_not_read_is_told_with_what_mends_it(
    tmp_path: Path, mode: int, *, said: bool
) -> None:
    home = tmp_path / "postroad"
    shutil.copytree(HERE, home / "deploy" / "systemd")
    (home / "deploy" / "systemd" / "run").chmod(0o755)
    home.chmod(mode)
    done = subprocess.run(
        [home / "deploy" / "systemd" / "install", tmp_path / "root"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (f"chmod -R go=rX {home}" in done.stderr) == said


def test_secrets_are_for_root_alone(root: Path) -> None:
    folder = root / "etc/postroad/secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0
        assert path.is_dir() or path.read_text().strip()


def test_each_service_has_a_user_of_its_own_at_both_servers_and_no_others_secrets(
    root: Path,
) -> None:
    secrets = root / "etc/postroad/secrets"
    name, in_database = rolemaking.read_logins(secrets)
    vhost, at_broker = rightsmaking.read_logins(secrets)
    assert (name, vhost) == ("postroad", "/")
    own = dict(zip(SERVICES, SERVICES, strict=True))
    assert {service: login.user for service, login in in_database.items()} == own
    assert {service: login.user for service, login in at_broker.items()} == own
    units = root / "etc/systemd/system"
    loaded = re.findall(
        r"^LoadCredential=\w+:(\S+)$", (units / "postroad@.service").read_text(), re.MULTILINE
    )
    kept = "/etc/postroad/secrets"
    assert sorted(loaded) == [
        f"{kept}/%i/POSTROAD_AMQP_URL",
        f"{kept}/%i/POSTROAD_MONGODB_URI",
        f"{kept}/POSTROAD_SECRET",
    ]
    holders = [path.parent.name for path in units.rglob("*") if "ADMIN_" in _text(path)]
    assert holders == ["postroad@ingress-http.service.d"]


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("POSTROAD_AMQP_URL", "amqp://all:one@mq.test/"),
        ("POSTROAD_MONGODB_URI", "mongodb://all:one@db.test/postroad"),
    ],
)
def test_an_installation_with_one_user_for_all_keeps_it(
    tmp_path: Path, name: str, shared: str
) -> None:
    folder = tmp_path / "etc/postroad/secrets"
    folder.mkdir(parents=True)
    (folder / name).write_text(shared)
    subprocess.run([str(HERE / "install"), str(tmp_path)], check=True, capture_output=True)
    assert {(folder / service / name).read_text() for service in SERVICES} == {shared}


@pytest.mark.parametrize("service", SERVICES)
def test_files_of_a_service_hold_settings_that_it_knows(root: Path, service: str) -> None:
    kind = import_module(f"postroad_{service.replace('-', '_')}.settings").Settings
    given = settings(root / f"etc/postroad/{service}.env")
    assert {name.removeprefix("POSTROAD_").lower() for name in given} <= set(kind.model_fields)


def test_ports_are_different_and_the_targets_of_prometheus_are_those() -> None:
    ports = {
        service: settings(HERE / f"etc/{service}.env")["POSTROAD_METRICS_PORT"]
        for service in SERVICES
    }
    assert len(set(ports.values())) == len(SERVICES)
    text = (HERE / "prometheus-targets.json").read_text()
    found = re.findall(r'"127.0.0.1:(\d+)"\], "labels": \{"service": "([^"]+)"', text)
    assert {service: port for port, service in found} == ports


def test_the_target_wants_every_service() -> None:
    text = (HERE / "postroad.target").read_text()
    assert re.findall(r"postroad@([\w-]+)\.service", text) == list(SERVICES)


def test_stopping_waits_longer_than_the_service_takes() -> None:
    usual = int(settings(HERE / "etc/postroad.env")["POSTROAD_GRACE_SECONDS"])
    sender = int(settings(HERE / "etc/sender.env")["POSTROAD_GRACE_SECONDS"])

    def stop_seconds(file: str) -> int:
        (found,) = re.findall(r"^TimeoutStopSec=(\d+)$", (HERE / file).read_text(), re.MULTILINE)
        return int(found)

    assert stop_seconds("postroad@.service") > usual
    assert stop_seconds("postroad@sender.service.d/grace.conf") > sender


def test_systemd_finds_no_fault_in_the_units(root: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    units = tmp_path / "units"
    shutil.copytree(root / "etc/systemd/system", units)
    unit = units / "postroad@.service"
    unit.write_text(unit.read_text().replace("/opt/postroad/deploy/systemd/run", str(HERE / "run")))
    names = [str(units / f"postroad@{service}.service") for service in SERVICES]
    for name in names:
        Path(name).symlink_to(unit)
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names, str(units / "postroad.target")],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if "postroad" in line]
    assert not complaints, "\n".join(complaints)


def _credentials(root: Path, service: str) -> dict[str, str]:
    """Return what systemd would hand to the process of a service, by name."""
    units = root / "etc/systemd/system"
    files = [units / "postroad@.service", *units.glob(f"postroad@{service}.service.d/*.conf")]
    return {
        name: Path(f"{root}{path.replace('%i', service)}").read_text()
        for file in files
        for name, path in re.findall(
            r"^LoadCredential=(\w+):(\S+)$", file.read_text(), re.MULTILINE
        )
    }


@pytest.fixture
def running(
    root: Path, amqp_url: str, mongodb_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, int]]:
    """Run every service as its unit does, with the ports and servers of this test."""
    etc = root / "etc/postroad"
    certificates = ensure_certificates(tmp_path_factory.mktemp("tls"), ("localhost",))
    shutil.copy(certificates.certificate, etc / "tls/tls.crt")
    shutil.copy(certificates.key, etc / "tls/tls.key")
    ports: dict[str, int] = {}
    with ExitStack() as stack:
        for service in SERVICES:
            given = settings(etc / "postroad.env") | settings(etc / f"{service}.env")
            for name in [name for name in given if name.endswith("_PORT")]:
                given[name] = str(free_port())
            ports[service] = int(given["POSTROAD_METRICS_PORT"])
            spool = root / "var/lib/postroad" / service
            spool.mkdir(parents=True)
            secrets = root / "run/credentials" / service
            secrets.mkdir(parents=True)
            for name, value in _credentials(root, service).items():
                (secrets / name).write_text(value)
            (secrets / "POSTROAD_AMQP_URL").write_text(amqp_url)
            (secrets / "POSTROAD_MONGODB_URI").write_text(mongodb_uri)
            given |= {
                "PATH": os.environ["PATH"],
                "POSTROAD_SECRETS_DIR": str(secrets),
                "POSTROAD_SPOOL_DIR": str(spool),
                "POSTROAD_BIND": "127.0.0.1",
            }
            for name in ("POSTROAD_TLS_CERT", "POSTROAD_TLS_KEY"):
                if name in given:
                    given[name] = f"{root}{given[name]}"
            log = stack.enter_context((root / f"{service}.log").open("wb"))
            process = subprocess.Popen(
                [str(HERE / "run"), service], env=given, stdout=log, stderr=log
            )
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.terminate)
        yield ports


def test_every_service_gets_ready_with_the_files_of_the_layout(
    running: dict[str, int], root: Path
) -> None:
    def ready(service: str) -> bool:
        try:
            url = f"http://127.0.0.1:{running[service]}/readyz"
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    for service in SERVICES:
        try:
            wait_until(lambda service=service: ready(service), PATIENCE)
        except TimeoutError:
            pytest.fail(f"{service}:\n" + (root / f"{service}.log").read_text()[-2000:])
