"""How the seven services and the sink are wired together on one machine.

Here stand the environment variables of each process, and the document that tells the outside where
everything is. The settings themselves are described by the services.
"""

import json
import socket
import sys
from collections.abc import Mapping

from postroad_stack.certificates import Certificates
from postroad_stack.document import DashboardInfo, ListenerInfo, SinkInfo, StackDocument
from postroad_stack.plan import (
    LISTENER_PORTS,
    METRICS_PORT,
    SERVICES,
    SINK,
    ServerSource,
    StackPlan,
    metrics_name,
)
from postroad_stack.ports import PortBook
from postroad_stack.processes.child import may_go_first
from postroad_stack.processes.program import BEHIND, FIRST, Program
from postroad_stack.processes.readiness import HealthPages
from postroad_stack.secrets import Secrets
from postroad_stack.servers import mongodb, prometheus, rabbitmq
from postroad_stack.servers.choose import AMQP_URL, MONGODB_URI
from postroad_stack.state_dir import StateDir

LOOPBACK = "127.0.0.1"
CERTIFICATE_NAMES = ("localhost", "127.0.0.1", "::1", "mail.postroad.test")
_LISTENING = {
    "ingress-smtp": ("smtp", "smtps", "mx"),
    "ingress-http": ("http",),
    "tracker": ("tracker",),
}
_ACCEPTING = frozenset({"ingress-smtp", "ingress-http"})
_BEHIND = frozenset({"transformer", "sender", "bounce-processor", "feedback"})
_ADMINISTRATOR = frozenset(
    {
        *("POSTROAD_ADMIN_EMAIL", "POSTROAD_ADMIN_PASSWORD", "POSTROAD_ADMIN_TOKEN"),
        "POSTROAD_OIDC_CLIENT_SECRET",
    }
)
_PATIENCE = 260.0  # seconds; the servers boot meanwhile
_DEFAULT_GRACE = 25.0
_AFTER_GRACE = 5.0


def certificate_names() -> tuple[str, ...]:
    """Return the names under which clients may reach the listeners."""
    own = socket.gethostname()
    return CERTIFICATE_NAMES if own in CERTIFICATE_NAMES else (*CERTIFICATE_NAMES, own)


class Wiring:
    """Knows every address of one stack."""

    def __init__(
        self,
        *,
        plan: StackPlan,
        state: StateDir,
        secrets: Secrets,
        ports: PortBook,
        certificates: Certificates,
        inherited: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._state = state
        self._secrets = secrets
        self._ports = ports
        self._certificates = certificates
        self._inherited = {k: v for k, v in inherited.items() if not k.startswith("POSTROAD_")}
        given = plan.environment
        self.amqp = given.get(AMQP_URL) or rabbitmq.url(secrets, ports, plan.nodes)
        self.mongodb = given.get(MONGODB_URI) or mongodb.url(secrets, ports, plan.nodes)
        self.http = self._web("http")
        self.tracker = self._web("tracker")
        self.admin_token = given.get("POSTROAD_ADMIN_TOKEN", secrets.admin_token)
        self._some_go_first = may_go_first(FIRST)

    def servers(self) -> list[Program]:
        """Return the programs of RabbitMQ and MongoDB that the stack runs itself."""
        found: list[Program] = []
        common = (self._state, self._secrets, self._ports, self._inherited)
        nodes = self._plan.nodes
        if "rabbitmq" in self._plan.only:
            found += rabbitmq.programs(self._plan.rabbitmq, *common, nodes=nodes)
        if "mongod" in self._plan.only:
            found += mongodb.programs(self._plan.mongod, *common, nodes=nodes)
        return found

    def services(self, pages: HealthPages) -> list[Program]:
        """Return the processes of every service, and the sink."""
        found = [
            self._service(service, replica, pages)
            for service in SERVICES
            if service in self._plan.only
            for replica in range(self._plan.count(service))
        ]
        if SINK in self._plan.only:
            found.append(self._sink(pages))
        if self._plan.prometheus is not None:
            found.append(self._prometheus(self._plan.prometheus, pages))
        return found

    def document(
        self, secrets: Secrets, pids: Mapping[str, list[int]], metrics_of: Mapping[str, list[int]]
    ) -> StackDocument:
        """Return the stack document.

        Args:
            secrets: with the demo login, once it is made.
            pids: processes by name.
            metrics_of: numbers of the running replicas, by service.
        """
        runs = self._plan.only
        email = self._plan.environment.get("POSTROAD_ADMIN_EMAIL", secrets.admin_email)
        password = self._plan.environment.get("POSTROAD_ADMIN_PASSWORD", secrets.admin_password)
        metrics = {
            name: [
                f"http://{LOOPBACK}:{self._metrics_port(name, replica)}/metrics"
                for replica in replicas
            ]
            for name, replicas in metrics_of.items()
            if name in SERVICES
        }
        if self._plan.rabbitmq.source is not ServerSource.GIVEN and "rabbitmq" in runs:
            metrics["rabbitmq"] = self._broker_metrics()
        smtp, api = "ingress-smtp" in runs, "ingress-http" in runs
        return StackDocument(
            smtp=self._listener("smtp", "starttls") if smtp else None,
            smtps=self._listener("smtps", "implicit") if smtp else None,
            mx=self._listener("mx", None) if smtp else None,
            http=self.http if api else None,
            tracker=self.tracker if "tracker" in runs else None,
            dashboard=DashboardInfo(url=f"{self.http}/", email=email, password=password)
            if api
            else None,
            sink=SinkInfo(smtp_port=self._ports.port("sink-smtp"), http=self._web("sink-http"))
            if SINK in runs
            else None,
            prometheus=prometheus.url(self._ports) if self._plan.prometheus else None,
            credential=secrets.credential if api else None,
            token=self.admin_token if api else None,
            ca=str(self._certificates.ca),
            amqp=self.amqp,
            mongodb=self.mongodb,
            metrics=metrics,
            pids=dict(pids),
            state_dir=str(self._state.root),
        )

    def _service(self, service: str, replica: int, pages: HealthPages) -> Program:
        port = self._metrics_port(service, replica)
        env = {**self._inherited, **self._common(), **self._plan.environment}
        if MONGODB_URI not in self._plan.environment:
            env[MONGODB_URI] = mongodb.url_of(service, self._secrets, self._ports, self._plan.nodes)
        if AMQP_URL not in self._plan.environment:
            env[AMQP_URL] = rabbitmq.url_of(service, self._secrets, self._ports, self._plan.nodes)
        if service != "ingress-http":
            env = {name: value for name, value in env.items() if name not in _ADMINISTRATOR}
        spool = self._state.spool / f"{service}.{replica}"
        spool.mkdir(exist_ok=True, mode=0o700)
        env[METRICS_PORT] = str(port)
        env["POSTROAD_SPOOL_DIR"] = str(spool)
        if service in _LISTENING and self._plan.count(service) > 1:
            env["POSTROAD_REUSE_PORT"] = "true"
        grace = _number(env.get("POSTROAD_GRACE_SECONDS"), _DEFAULT_GRACE) + _AFTER_GRACE

        async def ready() -> None:
            await pages.check(f"http://{LOOPBACK}:{port}/readyz")

        label = f"{service}.{replica}" if replica else service
        return Program(
            name=service,
            replica=replica,
            argv=(sys.executable, "-m", "postroad_" + service.replace("-", "_")),
            env=env,
            log=self._state.log_of(label),
            ready=ready,
            patience=_PATIENCE,
            grace=grace,
            folder=self._state.root,
            niceness=self._niceness(service),
        )

    def _niceness(self, service: str) -> int:
        """Let a client that waits for its answer come before what works behind the acceptance.

        Where that is allowed, nothing gives way: it would also give way to whatever else this
        machine does, and mail would wait for that.
        """
        if service in _ACCEPTING:
            return FIRST
        return BEHIND if service in _BEHIND and not self._some_go_first else 0

    def _sink(self, pages: HealthPages) -> Program:
        smtp, http = self._ports.port("sink-smtp"), self._ports.port("sink-http")

        async def ready() -> None:
            await pages.check(f"http://{LOOPBACK}:{http}/readyz")

        return Program(
            name=SINK,
            argv=(
                *(sys.executable, "-m", "postroad_sink"),
                *("--smtp-port", str(smtp), "--http-port", str(http)),
                *("--tls-cert", str(self._certificates.certificate)),
                *("--tls-key", str(self._certificates.key)),
            ),
            env=self._inherited,
            log=self._state.log_of(SINK),
            ready=ready,
            patience=_PATIENCE,
            grace=5.0,
            folder=self._state.root,
        )

    def _prometheus(self, where: str, pages: HealthPages) -> Program:
        targets = {
            service: [
                f"{LOOPBACK}:{self._metrics_port(service, replica)}"
                for replica in range(self._plan.count(service))
            ]
            for service in SERVICES
            if service in self._plan.only
        }
        if self._plan.rabbitmq.source is not ServerSource.GIVEN and "rabbitmq" in self._plan.only:
            targets["rabbitmq"] = [
                address.removeprefix("http://").partition("/")[0]
                for address in self._broker_metrics()
            ]
        return prometheus.program(
            where,
            self._state,
            self._ports,
            self._inherited,
            targets=targets,
            pages=pages,
            interval=self._plan.scrape_seconds,
        )

    def _broker_metrics(self) -> list[str]:
        return [rabbitmq.metrics_url(self._ports, node) for node in range(self._plan.nodes)]

    def _common(self) -> dict[str, str]:
        """Return the settings that every service gets, and that `--env` may replace."""
        secrets = self._secrets
        settings = {
            "POSTROAD_SECRET": secrets.secret,
            "POSTROAD_HOSTNAME": "mail.postroad.test",
            "POSTROAD_BIND": LOOPBACK,
            "POSTROAD_TLS_CERT": str(self._certificates.certificate),
            "POSTROAD_TLS_KEY": str(self._certificates.key),
            "POSTROAD_TRACKING_URL": self.tracker,
            "POSTROAD_HTTP_URL": self.http,
            "POSTROAD_METRICS_NETWORKS": "127.0.0.0/8",  # it listens to this machine alone
            "POSTROAD_BOUNCE_DOMAIN": "bounces.postroad.test",
            "POSTROAD_ADMIN_EMAIL": secrets.admin_email,
            "POSTROAD_ADMIN_PASSWORD": secrets.admin_password,
            "POSTROAD_ADMIN_TOKEN": secrets.admin_token,
        }
        for name, variable in LISTENER_PORTS.items():
            settings[variable] = str(self._ports.port(name))
        smtp, smtps = settings["POSTROAD_SMTP_PORT"], settings["POSTROAD_SMTPS_PORT"]
        settings["POSTROAD_SMTP_ADDRESS"] = f"localhost:{smtp}:{smtps}"
        settings["POSTROAD_SMTP_CA_FILE"] = str(self._certificates.ca.resolve())
        if SINK in self._plan.only:
            route = {
                "domain": "*",
                "host": LOOPBACK,
                "port": self._ports.port("sink-smtp"),
                "tls": "none",
                # The sink stands for all receivers, so no single process shall own it.
                "spread": self._plan.count("sender") > 1,
            }
            settings["POSTROAD_ROUTES"] = json.dumps([route])
        return settings

    def _metrics_port(self, service: str, replica: int) -> int:
        return self._ports.port(metrics_name(service, replica))

    def _web(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._ports.port(name)}"

    def _listener(self, name: str, tls: str | None) -> ListenerInfo:
        return ListenerInfo(host=LOOPBACK, port=self._ports.port(name), tls=tls)


def _number(text: str | None, otherwise: float) -> float:
    try:
        return float(text) if text else otherwise
    except ValueError:  # the service itself will say so, and better
        return otherwise
