"""Prometheus beside a stack, for those who want to look: it reads every process and the broker.

The program is that of the distribution. It evaluates the rules of `deploy/monitoring` where the
stack runs from its repository.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postroad_stack.ports import PortBook
from postroad_stack.processes.program import Program
from postroad_stack.servers import debian
from postroad_stack.state_dir import StateDir, write_atomically

if TYPE_CHECKING:  # it brings an HTTP client, which the command can do without
    from postroad_stack.processes.readiness import HealthPages

NAME = "prometheus"
RULES = Path(__file__).resolve().parents[5] / "deploy" / "monitoring" / "rules"
_DETAILS = "/metrics/detailed"
_PATIENCE = 60.0
_GRACE = 10.0


def find_program(say: Callable[[str], None]) -> str:
    """Return the path of the program; installs the distribution's where there is none.

    Raises:
        StackError: it cannot be had; the advice says how it could.
    """
    found = shutil.which(NAME)
    if found is None:
        debian.install((NAME,), say)
        found = shutil.which(NAME)
    return found or f"/usr/bin/{NAME}"


def url(ports: PortBook) -> str:
    """Return where it is served."""
    return f"http://127.0.0.1:{ports.port(NAME)}"


def program(
    where: str,
    state: StateDir,
    ports: PortBook,
    inherited: Mapping[str, str],
    *,
    targets: Mapping[str, Sequence[str]],
    pages: "HealthPages",
    interval: float,
) -> Program:
    """Return the program, with its configuration written.

    Args:
        where: its path.
        state: the state dir.
        ports: the port book.
        inherited: the environment to pass on.
        targets: addresses (`host:port`) by service, and of the broker's metrics.
        pages: asks whether it is ready.
        interval: seconds between two looks.
    """
    folder = state.root / NAME
    folder.mkdir(exist_ok=True, mode=0o700)
    file = folder / "prometheus.yml"
    write_atomically(file, json.dumps(configuration(targets, interval), indent=2))
    address = url(ports)

    async def ready() -> None:
        await pages.check(f"{address}/-/ready")

    return Program(
        name=NAME,
        argv=(
            where,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=2d",
            f"--web.listen-address={address.removeprefix('http://')}",
            "--log.level=warn",
        ),
        env=dict(inherited),
        log=state.log_of(NAME),
        ready=ready,
        patience=_PATIENCE,
        grace=_GRACE,
        folder=folder,
    )


def configuration(targets: Mapping[str, Sequence[str]], interval: float) -> dict[str, Any]:
    """Return what Prometheus reads at its start: the jobs of deploy/monitoring/prometheus.yml."""
    broker = [{"targets": list(targets.get("rabbitmq", ())), "labels": {"service": "rabbitmq"}}]
    services = [
        {"targets": list(addresses), "labels": {"service": service}}
        for service, addresses in targets.items()
        if service != "rabbitmq"
    ]
    details = {"metrics_path": _DETAILS, "params": {"family": ["queue_coarse_metrics"]}}
    return {
        "global": {"scrape_interval": f"{interval:g}s", "evaluation_interval": f"{interval:g}s"},
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": [
            {"job_name": "postroad", "static_configs": services},
            {"job_name": "rabbitmq", "static_configs": broker},
            {"job_name": "rabbitmq-queues", "static_configs": broker, **details},
        ],
    }
