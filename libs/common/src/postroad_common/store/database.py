"""The database: one client, its repositories, its indexes."""

import asyncio
import random

import structlog
from gridfs import AsyncGridFSBucket
from pymongo import ASCENDING, DESCENDING, AsyncMongoClient, IndexModel, WriteConcern
from pymongo.errors import PyMongoError

from postroad_common.store.access import Document, guarded
from postroad_common.store.accounts import Users
from postroad_common.store.backlogs import BacklogRecords
from postroad_common.store.bodies import CHUNK, Bodies
from postroad_common.store.credentials import Credentials
from postroad_common.store.domains import Domains
from postroad_common.store.events import Events
from postroad_common.store.idempotency import Idempotency
from postroad_common.store.images import Images
from postroad_common.store.lanes import Lanes
from postroad_common.store.leases import Leases
from postroad_common.store.ledger import Ledger
from postroad_common.store.messages import TAGGED, UNUSUAL, Messages
from postroad_common.store.outbox import Outbox
from postroad_common.store.policies import PolicyRecords
from postroad_common.store.privacy import Privacy
from postroad_common.store.replays import Replays
from postroad_common.store.replicas import Replicas
from postroad_common.store.rollups import Rollups
from postroad_common.store.strikes import Strikes
from postroad_common.store.suppressions import Suppressions
from postroad_common.store.tokens import Tokens
from postroad_common.store.webhooks import Webhooks

_DAY = 86_400
RETENTION = 90 * _DAY
"""Seconds that messages and events are kept."""
ROLLUP_RETENTION = 800 * _DAY
DELIVERY_RETENTION = 14 * _DAY
IMAGE_RETENTION = 365 * _DAY
"""Seconds that a hosted image is kept after the last mail that shows it."""

INDEXES: dict[str, list[IndexModel]] = {
    "credentials": [IndexModel([("account", ASCENDING)])],
    "tokens": [
        IndexModel([("secret_hash", ASCENDING)], unique=True),
        IndexModel([("account", ASCENDING)]),
    ],
    "messages": [
        IndexModel([("account", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("recipient", ASCENDING), ("_id", DESCENDING)]),
        # The two below leave out what is usual and would cost every message its upkeep: messages
        # without a tag, and those delivered, which most are by the time their events are written.
        IndexModel(
            [("tags", ASCENDING), ("_id", DESCENDING)],
            name="tagged",
            partialFilterExpression=TAGGED,
        ),
        IndexModel(
            [("account", ASCENDING), ("rank", ASCENDING), ("_id", DESCENDING)],
            name="unusual",
            partialFilterExpression={"rank": {"$in": list(UNUSUAL)}},
        ),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION),
    ],
    "events": [
        IndexModel([("message", ASCENDING), ("time", ASCENDING)]),
        IndexModel([("data.about", ASCENDING)], sparse=True),
        IndexModel([("account", ASCENDING), ("time", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("waiting", ASCENDING), ("time", ASCENDING)], sparse=True),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION),
    ],
    "firsts": [IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION)],
    "rollups": [
        IndexModel([("account", ASCENDING), ("tag", ASCENDING), ("day", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=ROLLUP_RETENTION),
    ],
    "webhook_deliveries": [
        IndexModel([("webhook", ASCENDING), ("state", ASCENDING), ("due", ASCENDING)]),
        IndexModel([("webhook", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("message", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=DELIVERY_RETENTION),
    ],
    "webhook_turns": [IndexModel([("next", ASCENDING)])],
    "webhook_replays": [
        IndexModel([("finished", ASCENDING), ("lease", ASCENDING)]),
        IndexModel([("webhook", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=DELIVERY_RETENTION),
    ],
    "domains": [IndexModel([("account", ASCENDING)])],
    "suppressions": [
        IndexModel([("account", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "strikes": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "webhooks": [IndexModel([("account", ASCENDING)])],
    "lanes": [
        IndexModel([("ordered", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=7 * _DAY),
    ],
    "replicas": [IndexModel([("at", ASCENDING)], expireAfterSeconds=600)],
    "backlogs": [IndexModel([("home", ASCENDING)])],
    "leases": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "policies": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "images": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "idempotency": [IndexModel([("at", ASCENDING)], expireAfterSeconds=_DAY)],
    "bodies.files": [IndexModel([("metadata.expires", ASCENDING)])],
}

_log = structlog.get_logger("store")


class Database:
    """`uri` names the database in its path (`postroad` without one).

    Building it does not connect: it may be built while MongoDB is away. A call takes `patience`
    seconds at most: SMTP and REST promise an answer within 5.
    """

    def __init__(self, uri: str, *, patience: float = 3.5) -> None:
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            appname="postroad",
            serverSelectionTimeoutMS=2000,
            connectTimeoutMS=2000,
            timeoutMS=int(patience * 1000),
            maxPoolSize=20,
            w="majority",
        )
        self._database = self._client.get_default_database("postroad")
        names = self._database
        self.users = Users(names["users"])
        self.credentials = Credentials(names["credentials"])
        self.tokens = Tokens(names["tokens"])
        self.messages = Messages(names["messages"])
        self.events = Events(names["events"])
        self.domains = Domains(names["domains"])
        self.suppressions = Suppressions(names["suppressions"])
        self.strikes = Strikes(names["strikes"])
        self.webhooks = Webhooks(names["webhooks"])
        self.outbox = Outbox(names["webhook_deliveries"], names["webhook_turns"])
        self.replays = Replays(names["webhook_replays"])
        self.ledger = Ledger(names["ledger"], names["events"], names["firsts"])
        self.rollups = Rollups(names["rollups"])
        self.lanes = Lanes(names["lanes"])
        self.replicas = Replicas(names["replicas"])
        self.backlogs = BacklogRecords(names["backlogs"])
        self.leases = Leases(names["leases"])
        self.policies = PolicyRecords(names["policies"])
        self.images = Images(names["images"], IMAGE_RETENTION)
        self.idempotency = Idempotency(names["idempotency"])
        bucket = AsyncGridFSBucket(
            names,
            "bodies",
            chunk_size_bytes=CHUNK,
            write_concern=WriteConcern(w="majority", j=True),
        )
        self.bodies = Bodies(bucket, names["bodies.files"])
        self.privacy = Privacy(
            names["messages"], names["events"], names["webhook_deliveries"], self.bodies
        )

    @guarded
    async def check(self) -> None:
        """Raise StoreAway unless a primary answers: a readiness check."""
        await self._client.admin.command("ping")

    async def prepare(self) -> None:
        """Create the indexes, as soon as the database is there."""
        pause = 0.5
        while True:
            try:
                for name, indexes in INDEXES.items():
                    await self._database[name].create_indexes(indexes)
            except PyMongoError as error:
                _log.warning(
                    "database not ready, trying again", error=str(error)[:200], seconds=pause
                )
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(10.0, pause * 2)
            else:
                _log.info("database ready")
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
