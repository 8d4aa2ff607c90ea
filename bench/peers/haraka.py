"""Haraka: its queue on disk (it calls fsync), a worker per core, a connection per delivery."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from string import Template

from bench.peers.peer import PASSWORD, USERNAME, Entrance, Site
from bench.peers.programs import (
    absent,
    await_port,
    call,
    free_port,
    npm_install,
    program,
    running,
)
from bench.peers.trust import server_of

_VERSION = "3.3.4"
_ROUTE = Path(__file__).with_name("templates") / "haraka" / "route.js"
# Newer releases of these two do not install.
_OVERRIDES = {"encoding-japanese": "2.2.0", "libqp": "2.1.1"}


class Haraka:
    """Takes mail and passes it on; changes and signs nothing."""

    name = "haraka"

    def missing(self, home: Path) -> str:
        """Return what is not installed, empty if it can be run."""
        if missing := absent("node", "npm", "openssl"):
            return missing
        return "" if _module(home).exists() else f"Haraka {_VERSION}"

    def install(self, home: Path) -> None:
        """Install it by npm, into a folder of its own."""
        manifest = {
            "private": True,
            "overrides": _OVERRIDES,
            "dependencies": {"Haraka": _VERSION},
        }
        npm_install(home / self.name, json.dumps(manifest))

    @asynccontextmanager
    async def running(self, site: Site) -> AsyncIterator[Sequence[Entrance]]:
        """Run an instance; stop it in the end.

        Raises:
            PeerError: it did not start.
        """
        folder, port = site.scratch / self.name, free_port()
        for name in ("config", "queue", "plugins"):
            (folder / name).mkdir(parents=True)
        call("openssl", "dhparam", "-dsaparam", "-out", str(folder / "dh.pem"), "2048")
        # What `haraka --install` copies too; without it every connection fails.
        shutil.copy(_module(site.home) / "config" / "connection.ini", folder / "config")
        for name, text in _settings(site, folder, port).items():
            (folder / "config" / name).write_text(f"{text}\n")
        route = Template(_ROUTE.read_text()).substitute(sink=site.sink_port)
        (folder / "plugins" / "route.js").write_text(route)
        log = folder / "log"
        words = (program("node"), str(_module(site.home) / "bin" / "haraka"), "-c", str(folder))
        async with running(words, log, cwd=folder) as pid:
            await await_port(port, log)
            server = server_of(site.certificates, port)
            yield [Entrance(self.name, server, {"haraka": [pid]})]


def _module(home: Path) -> Path:
    return home / "haraka" / "node_modules" / "Haraka"


def _settings(site: Site, folder: Path, port: int) -> dict[str, str]:
    files = site.certificates
    return {
        "me": "haraka.bench.test",
        "plugins": "tls\nauth/flat_file\nroute",
        "smtp.ini": f"listen=127.0.0.1:{port}\nnodes={os.cpu_count()}\ndaemonize=false",
        "tls.ini": f"key={files.key}\ncert={files.certificate}\ndhparam={folder / 'dh.pem'}",
        "auth_flat_file.ini": f"[core]\nmethods=PLAIN\n[users]\n{USERNAME}={PASSWORD}",
        "outbound.ini": "concurrency_max=100\nlocal_mx_ok=true\nenable_tls=false",
        "log.ini": "[main]\nlevel=info",
    }
