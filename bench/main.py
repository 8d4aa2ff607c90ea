"""The command line: starts what is needed, measures the rows one after another, prints them."""

import argparse
import asyncio
import dataclasses
import gc
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from bench import running
from bench.measure import Result, Setting, Target, idle_share, measure
from bench.receivers import ReceiverError, Sink, running_aiosmtpd, running_discard, running_sink
from bench.report import json_line, say, tables
from bench.rows import ROWS, Row, Through, chosen
from bench.smtp import Server, SmtpError
from bench.stack import StackError, running_stack
from postroad_stack.certificates import Certificates, ensure_certificates

MakeTarget = Callable[[Row], Awaitable[Target]]

_PASSWORD = "bench"  # noqa: S105 - of servers that live as long as their row
_INGRESS_ONLY = "rabbitmq,mongod,ingress-smtp,ingress-http"  # the last makes the login
_AFTER_START = 3.0  # seconds in which a stack that has just started comes to rest


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures Postroad from SMTP submission to delivery. See bench/README.md.",
        epilog=f"Rows: {', '.join(row.name for row in ROWS)}.",
    )
    parser.add_argument(
        "--rows", default="", help="names or shell patterns, comma separated (default: all)"
    )
    parser.add_argument("--count", type=int, help="messages per row, in place of each row's own")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="longest time of sending per row (default 20)"
    )
    parser.add_argument("--connections", type=int, default=8, help="connections in (default 8)")
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the services; may be repeated",
    )
    parser.add_argument(
        "--replicas",
        type=int,
        default=1,
        help="processes of each service that a mail goes through (default 1)",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON lines only")
    options = parser.parse_args(words)
    options.rows = chosen([word for word in options.rows.split(",") if word])
    if not options.rows:
        parser.error("no row of that name")
    if options.connections < 1 or options.seconds <= 0 or (options.count or 1) < 1:
        parser.error("--connections, --seconds and --count must be above 0")
    if options.count:
        options.rows = [dataclasses.replace(row, count=options.count) for row in options.rows]
    return options


def main() -> None:
    """Measure; exit code 1 if a row could not be measured or mail was lost or doubled."""
    options = arguments()
    try:
        results = running.run(_run(options))
    except (StackError, ReceiverError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    if not options.json:
        print(f"\n{tables(results)}\n")
    for result in results:
        print(json_line(result))
    sys.exit(1 if any(result.problem for result in results) else 0)


async def _run(options: argparse.Namespace) -> list[Result]:
    setting = Setting(options.connections, options.seconds, say)
    results = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postroad-bench-")))
        (folder / "tls").mkdir()
        certificates = ensure_certificates(folder / "tls", ["127.0.0.1", "localhost"])
        sink = await stack.enter_async_context(
            running_sink(certificates.certificate, certificates.key)
        )
        targets = _Targets(folder, certificates, sink, options.env, options.replicas)
        first = 0
        # Rows through the same target stand together, so each is started once.
        for through in Through:
            rows = [row for row in options.rows if row.through is through]
            if not rows:
                continue
            async with targets.of(through) as make_target:
                for row in rows:
                    gc.collect()
                    results.append(await _measure(row, make_target, setting, first))
                    first += row.count + row.warm_up
    order = [row.name for row in options.rows]
    return sorted(results, key=lambda result: order.index(result.row))


async def _measure(row: Row, make_target: MakeTarget, setting: Setting, first: int) -> Result:
    try:
        target = await make_target(row)
        result = await measure(row, target, setting, first)
    except (SmtpError, StackError, httpx.HTTPError) as error:
        result = Result(row.name, problem=str(error) or type(error).__name__)
    say(f"{row.name}: {result.problem or 'done'}")
    return result


class _Targets:
    """Starts what rows go through."""

    def __init__(
        self,
        folder: Path,
        certificates: Certificates,
        sink: Sink,
        settings: Sequence[str],
        replicas: int,
    ) -> None:
        self._folder = folder
        self._certificates = certificates
        self._sink = sink
        self._settings = settings
        self._replicas = replicas

    @asynccontextmanager
    async def of(self, through: Through) -> AsyncIterator[MakeTarget]:
        """Yield what makes the target of a row while the system runs."""
        match through:
            case Through.SINK:
                yield self._through_sink
            case Through.AIOSMTPD:
                async with running_aiosmtpd(*self._files) as (pid, port):
                    target = Target(self._server(port), {"aiosmtpd": [pid]}, None, 0.0)
                    yield _always(target)
            case Through.DISCARD:
                async with running_discard(*self._files, _PASSWORD) as (pid, port):
                    target = Target(self._server(port), {"ingress-smtp": [pid]}, None, 0.0)
                    yield _always(target)
            case Through.INGRESS:
                say("starting the ingress with its servers")
                place = self._folder / "ingress"
                async with running_stack(
                    place, self._sink.smtp_port, self._settings, only=_INGRESS_ONLY
                ) as stack:
                    await asyncio.sleep(_AFTER_START)
                    charged = {"ingress-smtp": stack.pids["ingress-smtp"]}
                    server = await stack.login(features=False)
                    yield _always(Target(server, charged, None, await idle_share(charged)))
            case Through.STACK:
                say("starting a stack of its own")
                place = self._folder / "stack"
                async with running_stack(
                    place, self._sink.smtp_port, self._settings, replicas=self._replicas
                ) as stack:
                    await asyncio.sleep(_AFTER_START)
                    idle = await idle_share(stack.pids)

                    async def of_row(row: Row) -> Target:
                        server = await stack.login(features=row.features)
                        return Target(server, stack.pids, self._sink, idle)

                    yield of_row

    async def _through_sink(self, _: Row) -> Target:
        server = self._server(self._sink.smtp_port)
        return Target(server, {"sink": [self._sink.pid]}, self._sink, 0.0)

    def _server(self, port: int) -> Server:
        tls = ssl.create_default_context(cafile=self._certificates.ca)
        return Server("127.0.0.1", port, tls, "bench", _PASSWORD)

    @property
    def _files(self) -> tuple[Path, Path]:
        return self._certificates.certificate, self._certificates.key


def _always(target: Target) -> MakeTarget:
    async def same(_: Row) -> Target:
        return target

    return same
