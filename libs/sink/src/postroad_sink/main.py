"""Starts the sink: reads the command line, builds everything, stops at SIGTERM or Ctrl-C."""

import argparse
import asyncio
import gc
import json
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from postroad_sink.certificate import server_context
from postroad_sink.server import Sink, SinkLimits, SinkServer
from postroad_sink.web import WebServer, web_application

_log = logging.getLogger("postroad.sink")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit with 2 and a message if it is wrong."""
    limits = SinkLimits()
    parser = argparse.ArgumentParser(
        prog="python -m postroad_sink",
        description="Takes mail for every address, delivers nothing, shows everything.",
        epilog="Port 0 takes a free one. The first line of output has the addresses as JSON.",
    )
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument(
        "--host",
        action="append",
        help="address to listen on (default 127.0.0.1); may be repeated, HTTP uses the first",
    )
    parser.add_argument("--hostname", default=Sink.hostname, help="name in banner and EHLO")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate (default: one is made)")
    parser.add_argument("--tls-key", type=Path, help="PEM key of --tls-cert")
    parser.add_argument("--no-tls", action="store_true", help="STARTTLS is never offered")
    parser.add_argument("--discard", action="store_true", help="count messages, keep none")
    parser.add_argument("--max-messages", type=int, default=limits.messages)
    parser.add_argument(
        "--max-bytes", type=int, default=limits.kept_bytes, help="of messages kept in memory"
    )
    parser.add_argument("--seed", type=int, help="makes rules with a probability repeatable")
    chosen = parser.parse_args(words)
    if chosen.tls_key and not chosen.tls_cert:
        parser.error("--tls-key needs --tls-cert")
    for name in ("smtp_port", "http_port"):
        if not 0 <= getattr(chosen, name) <= 65535:
            parser.error(f"--{name.replace('_', '-')} is no port number")
    if chosen.max_messages < 1 or chosen.max_bytes < 1:
        parser.error("--max-messages and --max-bytes must be at least 1")
    return chosen


def main() -> None:
    """Run until told to stop."""
    chosen = arguments()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    _allow_many_connections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(chosen))
    except OSError as error:
        print(f"sink: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


async def _run(chosen: argparse.Namespace) -> None:
    hosts: list[str] = list(dict.fromkeys(chosen.host or ["127.0.0.1"]))
    sink = Sink(
        hostname=chosen.hostname,
        discard=chosen.discard,
        limits=SinkLimits(messages=chosen.max_messages, kept_bytes=chosen.max_bytes),
        tls_context=None
        if chosen.no_tls
        else server_context(
            chosen.tls_cert, chosen.tls_key, [chosen.hostname, "localhost", "127.0.0.1"]
        ),
        seed=chosen.seed,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    server = SinkServer(sink)
    web = WebServer(web_application(server))
    http_port = await web.start(hosts[0], chosen.http_port)
    try:
        smtp_port = await server.start(hosts, chosen.smtp_port)
        # What was built until here lives as long as the process: the collector may skip it.
        gc.freeze()
        _announce(hosts[0], smtp_port, http_port)
        await stop.wait()
    finally:
        await server.stop()
        await web.stop()


def _announce(host: str, smtp_port: int, http_port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    http = f"http://{shown}:{http_port}"
    print(json.dumps({"smtp_port": smtp_port, "http": http}), flush=True)  # noqa: T201
    _log.info("listening: SMTP on %s port %d, web page %s", host, smtp_port, http)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
