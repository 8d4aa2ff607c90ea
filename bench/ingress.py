"""Our ingress-smtp with nothing behind it: it takes mail, reads it, encodes it, throws it away.

`python -m bench.ingress CERTIFICATE KEY` is what a row compares with stock aiosmtpd: the listener
is the one of the service, only the broker and the database are left out.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import cast

import uvloop

from postroad_common import logging
from postroad_common.broker.eventwriter import EventWriter
from postroad_common.broker.link import BrokerLink
from postroad_common.broker.publisher import Publisher
from postroad_common.health import Health
from postroad_common.schemas.features import Features
from postroad_common.secrets import hash_password
from postroad_common.service import ServiceContext
from postroad_common.store.accounts import Account
from postroad_common.store.credentials import Credential
from postroad_common.store.database import Database
from postroad_ingress_smtp.main import open_listeners
from postroad_ingress_smtp.settings import Settings


class _NoBroker:
    """A publisher that confirms at once."""

    is_up = True

    async def publish(self, *_: object, **__: object) -> None:
        """Forget the frame."""


class _OneLogin:
    """In place of the credentials: whoever asks gets this login."""

    def __init__(self, password: str) -> None:
        self._hash = hash_password(password)

    async def find(self, username: str) -> Credential:
        """Return a login of this name, with all features off."""
        now = time.time()
        return Credential(
            username=username,
            account="bench",
            name="bench",
            features=Features(),
            forward_bounces=False,
            disabled=False,
            created=now,
            updated=now,
            version=1,
            password_hash=self._hash,
        )


class _AnyAccount:
    """In place of the accounts: each is there and may send."""

    async def find(self, account_id: str) -> Account:
        """Return an account without limits."""
        return Account(account_id)


class _NoDatabase:
    """In place of the database, as far as small messages need it."""

    accounts = _AnyAccount()
    bodies = domains = rollups = None

    def __init__(self, password: str) -> None:
        self.credentials = _OneLogin(password)


async def _serve(settings: Settings, password: str) -> None:
    link = BrokerLink(settings.amqp_url, "unused")
    publisher = cast("Publisher", _NoBroker())
    events = EventWriter(publisher)
    events.start()
    listeners = await open_listeners(
        ServiceContext(
            name="ingress-smtp",
            settings=settings,
            link=link,
            publisher=publisher,
            events=events,
            database=cast("Database", _NoDatabase(password)),
            health=Health(),
        )
    )
    ports = {listener.name: listener.port for listener in listeners}
    print(json.dumps({"smtp_port": ports["submission"]}), flush=True)
    await asyncio.Event().wait()


def _main() -> None:
    parser = argparse.ArgumentParser(description="ingress-smtp that throws mail away.")
    parser.add_argument("certificate", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("password")
    chosen = parser.parse_args()
    settings = Settings(
        amqp_url="amqp://nowhere.invalid",
        mongodb_uri="mongodb://nowhere.invalid/none",
        secret=("only-for-this-measurement",),
        smtp_port=0,
        smtps_port=0,
        mx_port=0,
        tls_cert=chosen.certificate,
        tls_key=chosen.key,
    )
    logging.set_up("ingress-smtp", "warning", "json")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, chosen.password))


if __name__ == "__main__":
    _main()
