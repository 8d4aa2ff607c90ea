"""What a redirect costs: the tracker beside a bare server of its framework with a fixed 302.

`python -m bench.redirects` prints one JSON line each: redirects per second of processor time of the
server (per core, therefore), redirects per second as it went, and milliseconds of the answers at
p50 and p99. Requests come over 16 kept connections, one after another on each, each for another
link. The tracker records every click in a spool on disk, as it does when the broker is away.
"""

import asyncio
import json
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from postroad_common.mail.identifiers import new_id
from postroad_common.store.database import Database
from postroad_common.tokens import Keyring, LinkSigner
from postroad_tracker.asgi import Application, Receive, Scope, Send
from postroad_tracker.burst_detector import BurstDetector
from postroad_tracker.client_address import ClientAddresses
from postroad_tracker.handler import Handler
from postroad_tracker.image_cache import ImageCache
from postroad_tracker.listener import TrackerListener
from postroad_tracker.recorder import Recorder
from postroad_tracker.spool import Spool

CONNECTIONS = 16
SECONDS = 4.0
TARGET = b"https://shop.example.com/p/1?utm_source=mail&utm_campaign=week47"
_SIGNER = LinkSigner(Keyring(["the secret of this measurement"]), "http://localhost")
_AGENT = b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """Redirect every request to one place, and do nothing else."""
    del receive
    if scope["type"] == "http":
        headers = [(b"location", TARGET), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def tracker(folder: Path) -> Application:
    """Yield the tracker's application with its spool in `folder`."""
    spool = Spool(folder, 1 << 30)
    spool.open()
    image_cache = ImageCache(Database("mongodb://127.0.0.1:1/none").images)
    return Handler(
        _SIGNER, Recorder(spool, BurstDetector(), lambda: None), ClientAddresses([]), image_cache
    )


async def serve(name: str, folder: Path) -> None:
    """Serve until standard input ends, then print the processor time used."""
    application = bare if name == "bare" else tracker(folder)
    listener = TrackerListener(application, "127.0.0.1", 0, reuse_port=False)
    await listener.start()
    sys.stdout.write(f"{listener.port}\n")
    sys.stdout.flush()
    before = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.to_thread(sys.stdin.read)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sys.stdout.write(f"{used}\n")


async def load(port: int, requests: list[bytes], until: float) -> list[float]:
    """Send `requests` in turn over one connection; the seconds that each took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken: list[float] = []
    while (started := time.perf_counter()) < until:
        writer.write(requests[len(taken) % len(requests)])
        answer = await reader.readuntil(b"\r\n\r\n")
        taken.append(time.perf_counter() - started)
        if not answer.startswith(b"HTTP/1.1 302"):
            raise RuntimeError(f"not redirected: {answer[:80]!r}")
    writer.close()
    return taken


async def measure(name: str) -> None:
    """Measure one server and print its row."""
    requests = [
        b"GET %s HTTP/1.1\r\nHost: t\r\nUser-Agent: %s\r\nAccept: text/html\r\n\r\n"
        % (_SIGNER.click(new_id(), 1, TARGET).removeprefix("http://localhost").encode(), _AGENT)
        for _ in range(2_000)
    ]
    share = len(requests) // CONNECTIONS
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(  # noqa: ASYNC220 - nothing else waits
            [sys.executable, "-m", "bench.redirects", name, folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdin is not None  # noqa: S101 - both are pipes
        assert server.stdout is not None  # noqa: S101 - both are pipes
        port = int(server.stdout.readline())
        until = time.perf_counter() + SECONDS
        results = await asyncio.gather(
            *(load(port, requests[n * share :][:share], until) for n in range(CONNECTIONS))
        )
        server.stdin.close()
        used = float(server.stdout.readline())
        server.wait(10)
    taken = sorted(seconds for result in results for seconds in result)
    row = {
        "row": name,
        "per_core_s": round(len(taken) / used),
        "per_s": round(len(taken) / SECONDS),
        "p50_ms": round(taken[len(taken) // 2] * 1000, 2),
        "p99_ms": round(taken[len(taken) * 99 // 100] * 1000, 2),
    }
    print(json.dumps(row))


async def main() -> None:
    """Measure both rows, or with arguments be one server of them."""
    if len(sys.argv) == 3:
        await serve(sys.argv[1], Path(sys.argv[2]))
        return
    for name in ("bare", "tracker"):
        await measure(name)


if __name__ == "__main__":
    uvloop.run(main())
