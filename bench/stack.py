"""Starts a Postroad of its own to measure, and makes one login per set of features."""

import asyncio
import json
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.smtp import Server

FEATURES = ("inlinecss", "clicktracking", "openstracking", "preventscam", "bouncetracking")
ON_THE_ROAD = ("ingress-smtp", "transformer", "sender", "feedback")
_START_SECONDS = 600.0  # the first start of a machine downloads servers
_STOP_SECONDS = 90.0


class StackError(Exception):
    """The stack did not start, or did not make a login."""


@dataclass(frozen=True)
class Stack:
    """A running stack; `pids` are its processes by what they are."""

    host: str
    port: int
    tls: ssl.SSLContext
    http: str
    token: str
    pids: dict[str, list[int]]

    async def login(self, *, features: bool) -> Server:
        """Make a login with all features on or off, ready to send with.

        Raises:
            StackError: the REST API does not make one.
        """
        wanted = {
            "name": f"bench, features {'on' if features else 'off'}",
            "features": dict.fromkeys(FEATURES, features),
            "forward_bounces": False,
        }
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=self.http, trust_env=False, timeout=30) as http:
            answer = await http.post("/v1/credentials", json=wanted, headers=headers)
        if answer.is_error:
            raise StackError(f"no login: {answer.status_code} {answer.text[:200]}")
        made = answer.json()
        return Server(self.host, self.port, self.tls, made["username"], made["password"])


@asynccontextmanager
async def running_stack(
    state_dir: Path,
    sink_port: int,
    settings: Sequence[str],
    only: str = "",
    replicas: int = 1,
) -> AsyncIterator[Stack]:
    """Run a stack that delivers everything to the sink; stop and wipe it in the end.

    Args:
        state_dir: a folder for its data.
        sink_port: where it shall deliver, on 127.0.0.1, without TLS.
        settings: more settings for the services, as `KEY=VALUE`.
        only: what to run, separated by commas; everything but the stack's own sink if empty.
        replicas: processes of each service that a mail goes through.

    Raises:
        StackError: it did not start.
    """
    route = {"domain": "*", "host": "127.0.0.1", "port": sink_port, "tls": "none"}
    route["spread"] = replicas > 1  # else a single sender owns the sink, as it does any receiver
    words = [f"POSTROAD_ROUTES={json.dumps([route])}", *settings]
    options = [word for setting in words for word in ("--env", setting)]
    if replicas > 1:
        options += [word for name in ON_THE_ROAD for word in ("--replicas", f"{name}={replicas}")]
    where = ("--state-dir", str(state_dir))
    what = ("--only", only) if only else ("--no-sink",)
    try:
        output = await postroad(_START_SECONDS, "up", "--detach", "--json", *what, *where, *options)
        yield _read(output)
    finally:
        await postroad(_STOP_SECONDS, "down", "--wipe", *where)


async def postroad(seconds: float, *words: str) -> str:
    """Return what the `postroad` command prints; its progress goes to our standard error.

    Raises:
        StackError: it failed, or took more than `seconds`.
    """
    command = Path(sys.executable).with_name("postroad")
    process = await asyncio.create_subprocess_exec(command, *words, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        raise StackError(f"postroad {words[0]} took more than {seconds:.0f} s") from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode != 0:
        raise StackError(f"postroad {words[0]} ended with {process.returncode}")
    return output.decode()


def _read(output: str) -> Stack:
    lines = output.strip().splitlines()
    try:
        document: dict[str, Any] = json.loads(lines[-1])
        tls = ssl.create_default_context(cafile=document["ca"])
        return Stack(
            host=document["smtp"]["host"],
            port=document["smtp"]["port"],
            tls=tls,
            http=document["http"],
            token=document["token"],
            pids=document["pids"],
        )
    except (IndexError, KeyError, TypeError, ValueError, OSError) as error:
        raise StackError(f"postroad up printed no stack document: {error!r}") from error
