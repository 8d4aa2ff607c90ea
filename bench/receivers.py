"""The programs that are only part of the measurement: the sink, and stock aiosmtpd to compare with.

`python -m bench.receivers` is the latter: it takes mail and throws it away.
"""

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

_START_SECONDS = 20.0


class ReceiverError(Exception):
    """The program did not start."""


@dataclass(frozen=True)
class Sink:
    """The mail sink, counting only."""

    pid: int
    smtp_port: int
    http: httpx.AsyncClient

    async def begin(self) -> None:
        """Count anew."""
        (await self.http.delete("/counts")).raise_for_status()

    async def delivered(self) -> tuple[int, float | None]:
        """How many messages have come, and when the last one did (Unix time)."""
        counts = (await self.http.get("/counts")).raise_for_status().json()
        return counts["accepted"], counts["last"]


@asynccontextmanager
async def running_sink(
    certificate: Path, key: Path, *, discard: bool = True
) -> AsyncIterator[Sink]:
    """Run a sink on free ports that offers AUTH, so that it can stand for a relay."""
    words = ["-m", "postroad_sink", "--smtp-port", "0", "--http-port", "0"]
    words += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    words += ["--discard"] if discard else []
    async with (
        _running(*words) as (pid, addresses),
        httpx.AsyncClient(base_url=addresses["http"], trust_env=False) as http,
    ):
        offer = {"stage": "connect", "extensions": {"AUTH": True}}
        (await http.post("/behaviour", json=offer)).raise_for_status()
        yield Sink(pid, addresses["smtp_port"], http)


@asynccontextmanager
async def running_aiosmtpd(certificate: Path, key: Path) -> AsyncIterator[tuple[int, int]]:
    """Stock aiosmtpd that throws everything away; its process id and port."""
    async with _running("-m", "bench.receivers", str(certificate), str(key)) as (pid, addresses):
        yield pid, addresses["smtp_port"]


@asynccontextmanager
async def running_discard(
    certificate: Path, key: Path, password: str
) -> AsyncIterator[tuple[int, int]]:
    """Our ingress-smtp that throws everything away (`ingress`); its process id and port."""
    words = ("-m", "bench.ingress", str(certificate), str(key), password)
    async with _running(*words) as (pid, addresses):
        yield pid, addresses["smtp_port"]


@asynccontextmanager
async def _running(*words: str) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """Run a Python program that prints its addresses as JSON once it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if process.stdout is None:
            raise ReceiverError("no output")
        async with asyncio.timeout(_START_SECONDS):
            line = await process.stdout.readline()
        if not line:
            raise ReceiverError(f"{' '.join(words)} did not start")
        yield process.pid, json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class _ThrowAway:
    """An aiosmtpd handler."""

    async def handle_DATA(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Forget the message."""
        del server, session, envelope
        return "250 2.0.0 Ok"


def _any_login(*_: object) -> AuthResult:
    return AuthResult(success=True)


async def _serve(context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(
            _ThrowAway(),
            hostname="aiosmtpd.bench.test",
            tls_context=context,
            require_starttls=True,
            authenticator=_any_login,
            auth_required=True,
            loop=loop,
        ),
        "127.0.0.1",
        0,
    )
    print(json.dumps({"smtp_port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def _main() -> None:
    parser = argparse.ArgumentParser(description="Stock aiosmtpd that throws mail away.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    chosen = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chosen.certificate, chosen.key)
    asyncio.run(_serve(context))


if __name__ == "__main__":
    _main()
