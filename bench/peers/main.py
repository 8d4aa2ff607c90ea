"""Runs the peers in turn and prints the table."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from bench import running
from bench.peers.haraka import Haraka
from bench.peers.measure import Course, Measured, Setting, half_of_own, half_of_slowest
from bench.peers.peer import Peer, PeerError, Site
from bench.peers.postfix import Postfix, PostfixOpendkim
from bench.peers.postroad import Postroad
from bench.peers.sink import running_counting_sink
from bench.peers.table import facts, markdown, middle, write_between
from bench.peers.zonemta import ZoneMta
from bench.report import say
from bench.smtp import SmtpError
from postroad_stack.certificates import Certificates, ensure_certificates
from postroad_stack.servers.mongod_wheel import cache_folder

_PAGE = Path(__file__).parents[2] / "docs" / "operations" / "performance.md"
_NAMES = ("postfix", "postfix-opendkim", "haraka", "zonemta", "postroad")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exit with 2 and a message if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="Measures Postroad beside other relays. See docs/operations/performance.md.",
    )
    add = parser.add_argument
    add("--peers", default="", help=f"some of {', '.join(_NAMES)} (default: all that can be run)")
    add("--install", action="store_true", help="install what is missing, by apt-get and npm")
    add("--home", type=Path, default=cache_folder() / "peers", help="folder of what npm installs")
    add("--count", type=int, default=6_000, help="messages per run at most (default 6000)")
    add("--seconds", type=float, default=30.0, help="longest time of sending (default 30)")
    add("--connections", type=int, default=20, help="connections in (default 20)")
    add("--rounds", type=int, default=1, help="runs at full load, of which the median counts")
    add("--pipelined", action="store_true", help="send MAIL, RCPT and DATA in one go")
    add(
        "--rate",
        type=float,
        help="messages per second for all after full load; 0: full load is all that is measured",
    )
    add("--env", action="append", default=[], metavar="KEY=VALUE", help="a setting of Postroad")
    add("--write-docs", action="store_true", help=f"write the table into {_PAGE.name}")
    options = parser.parse_args(words)
    options.peers = [word for word in options.peers.split(",") if word] or list(_NAMES)
    if unknown := set(options.peers) - set(_NAMES):
        parser.error(f"no peer named {', '.join(sorted(unknown))}")
    if min(options.connections, options.seconds, options.count, options.rounds) <= 0:
        parser.error("--connections, --seconds, --count and --rounds must be above 0")
    return options


def main() -> None:
    """Measure; exit code 1 if a relay lost or doubled mail, or could not be measured."""
    options = arguments()
    try:
        sound = running.run(_run(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except PeerError as error:
        print(f"bench.peers: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0 if sound else 1)


async def _run(options: argparse.Namespace) -> bool:
    known: dict[str, Peer] = {
        peer.name: peer
        for peer in (Postfix(), PostfixOpendkim(), Haraka(), ZoneMta(), Postroad(options.env))
    }
    skipped: dict[str, str] = {}
    for name in options.peers:
        if why := _unready(known[name], options.home, install=options.install):
            skipped[name] = why
            say(f"{name} is left out: {why}")
    setting = Setting(
        options.connections, options.count, options.seconds, pipelined=options.pipelined
    )
    full: dict[str, list[Measured]] = defaultdict(list)
    async with running_counting_sink() as sink:
        field = _Field(
            [known[name] for name in options.peers], options.home, Course(sink, setting), sink.port
        )
        field.skipped = skipped
        for _ in range(options.rounds):
            async for one in field.run():
                full[one.label].append(one)
        medians = [middle(runs) for runs in full.values()]
        if not medians:
            raise PeerError("no relay could be measured")
        rate = half_of_slowest(medians) if options.rate is None else options.rate
        own_rate = {one.label: half_of_own(one) for one in medians}
        same, own = {}, {}
        if rate:
            same = {one.label: one async for one in field.run(lambda _: rate)}
            own = {one.label: one async for one in field.run(own_rate.get)}
    text = f"{markdown(medians, same, own)}\n\n{facts(medians, rate, skipped)}"
    print(text)
    if options.write_docs:
        await asyncio.to_thread(write_between, _PAGE, text)
    return not any(one.lost or one.duplicated for one in [*medians, *same.values(), *own.values()])


def _unready(peer: Peer, home: Path, *, install: bool) -> str:
    """Return why a peer cannot be run, empty if it can; install what is missing if wanted."""
    why = peer.missing(home)
    if not why:
        return ""
    if not install:
        return f"missing: {why}; --install gets it"
    try:
        peer.install(home)
    except PeerError as error:
        return str(error)
    return peer.missing(home)


class _Field:
    """The peers that are measured, one after the other. `skipped` says why some are not."""

    def __init__(self, peers: Sequence[Peer], home: Path, course: Course, sink_port: int) -> None:
        self._peers = peers
        self._home = home
        self._course = course
        self._sink_port = sink_port
        self.skipped: dict[str, str] = {}

    async def run(
        self, rate: Callable[[str], float | None] = lambda _: None
    ) -> AsyncIterator[Measured]:
        """Run each peer and yield what was measured; one that fails is told and left out.

        `rate` gives the messages per second that a relay of that label is offered; None: as many
        as it takes.
        """
        for peer in self._peers:
            if peer.name in self.skipped:
                continue
            say(f"{peer.name}: starting")
            try:
                async with self._site() as site, peer.running(site) as entrances:
                    for entrance in entrances:
                        measured = await self._course.run(entrance, rate(entrance.label))
                        say(json.dumps(asdict(measured)))
                        yield measured
            except (PeerError, SmtpError, OSError) as error:
                self.skipped[peer.name] = str(error) or type(error).__name__
                say(f"{peer.name} is left out: {self.skipped[peer.name]}")

    @asynccontextmanager
    async def _site(self) -> AsyncIterator[Site]:
        with tempfile.TemporaryDirectory(prefix="postroad-peers-") as folder:
            certificates = await asyncio.to_thread(_prepare, Path(folder))
            yield Site(self._home, Path(folder), self._sink_port, certificates)


def _prepare(scratch: Path) -> Certificates:
    scratch.chmod(0o711)  # Postfix and opendkim have users of their own
    tls = scratch / "tls"
    tls.mkdir()
    return ensure_certificates(tls, ["127.0.0.1", "localhost"])
