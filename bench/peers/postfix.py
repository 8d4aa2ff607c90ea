"""Postfix as Debian ships it, alone or with opendkim as milter, as an instance of its own.

The system's Postfix is not touched: configuration, queue and data are in the folder of the run.
fsync stays on, and `in_flow_delay` at its one second, which shows in the latency under full load:
Postfix slows the input when deliveries cannot keep up.
"""

import grp
import os
import pwd
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from string import Template

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.mails import SENDER_DOMAIN
from bench.peers import dovecotauth
from bench.peers.peer import PASSWORD, USERNAME, Entrance, Site
from bench.peers.programs import absent, apt_install, await_port, call, free_port, program, running
from bench.peers.trust import server_of

_TEMPLATES = Path(__file__).with_name("templates")
_DAEMONS = Path("/usr/lib/postfix/sbin")
_NO_CONFIGURATION = "postfix postfix/main_mailer_type select No configuration\n"


class Postfix:
    """Takes mail and passes it on; changes and signs nothing."""

    name = "postfix"
    packages: tuple[str, ...] = ("postfix",)
    programs: tuple[str, ...] = ("postfix",)

    def missing(self, home: Path) -> str:
        """Return what is not installed, empty if it can be run."""
        del home
        if os.geteuid() != 0:
            return "root: Postfix changes to users of its own"
        return absent(*self.programs)

    def install(self, home: Path) -> None:
        """Install the packages, without a configuration, so that none is started."""
        del home
        apt_install(self.packages, _NO_CONFIGURATION)

    @asynccontextmanager
    async def running(self, site: Site) -> AsyncIterator[Sequence[Entrance]]:
        """Run an instance; stop it in the end.

        Raises:
            PeerError: it did not start.
        """
        folder = site.scratch / self.name
        for path in (folder, folder / "etc", folder / "spool", folder / "data"):
            path.mkdir(mode=0o755)
        owner = pwd.getpwnam("postfix")
        os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
        port = free_port()
        async with AsyncExitStack() as stack:
            socket = folder / "auth"
            await stack.enter_async_context(dovecotauth.answering(socket, USERNAME, PASSWORD))
            groups, settings = await self.with_filters(folder, stack)
            self._configure(site, folder, port, settings)
            log = folder / "maillog"
            where = ("-c", str(folder / "etc"))
            call(program("postfix"), *where, "start")
            try:
                await await_port(port, log)
                master = int((folder / "spool" / "pid" / "master.pid").read_text())
                server = server_of(site.certificates, port)
                yield [Entrance(self.name, server, {"postfix": [master], **groups})]
            finally:
                call(program("postfix"), *where, "stop")

    async def with_filters(
        self, folder: Path, stack: AsyncExitStack
    ) -> tuple[dict[str, list[int]], str]:
        """Start what the mail goes through as well; its processes, and what main.cf says of it."""
        del folder, stack
        return {}, ""

    def _configure(self, site: Site, folder: Path, port: int, settings: str) -> None:
        facts = {
            "folder": folder,
            "daemons": _DAEMONS,
            "sink": site.sink_port,
            "certificate": site.certificates.certificate,
            "key": site.certificates.key,
            "port": port,
            "setgid": grp.getgrnam("postdrop").gr_name,
        }
        for name in ("main.cf", "master.cf"):
            text = Template((_TEMPLATES / "postfix" / name).read_text()).substitute(facts)
            path = folder / "etc" / name
            path.write_text(text + (settings if name == "main.cf" else ""))
        # Debian keeps which kinds of tables there are beside the system's configuration.
        for name in ("dynamicmaps.cf", "postfix-files"):
            source = Path("/etc/postfix") / name
            if source.exists():
                (folder / "etc" / name).write_bytes(source.read_bytes())


class PostfixOpendkim(Postfix):
    """The same, and opendkim signs: RSA with 2048 bits, relaxed/relaxed."""

    name = "postfix-opendkim"
    packages = ("postfix", "opendkim")
    programs = ("postfix", "opendkim")

    async def with_filters(
        self, folder: Path, stack: AsyncExitStack
    ) -> tuple[dict[str, list[int]], str]:
        """Start opendkim with a new key."""
        owner = pwd.getpwnam("opendkim")
        key, config, port = folder / "dkim.pem", folder / "opendkim.conf", free_port()
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.touch(mode=0o600)
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        os.chown(key, owner.pw_uid, owner.pw_gid)
        config.write_text(
            f"Mode s\nDomain {SENDER_DOMAIN}\nSelector bench\nKeyFile {key}\n"
            "Canonicalization relaxed/relaxed\nInternalHosts 127.0.0.1\nSyslog no\n"
            f"RequireSafeKeys no\nUserID opendkim\nSocket inet:{port}@127.0.0.1\n"
        )
        log = folder / "opendkim.log"
        words = (program("opendkim"), "-f", "-x", str(config))
        pid = await stack.enter_async_context(running(words, log))
        await await_port(port, log, greets=False)
        milter = f"smtpd_milters = inet:127.0.0.1:{port}\nmilter_default_action = tempfail\n"
        return {"opendkim": [pid]}, milter
