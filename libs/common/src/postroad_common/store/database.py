"""The database: one client, and the repositories that a service opens by naming them."""

import asyncio
import random
from collections.abc import Container
from functools import cached_property

import structlog
from gridfs import AsyncGridFSBucket
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.errors import PyMongoError

from postroad_common.servertls import ServerTls, explain_tls
from postroad_common.store.access import Document, guarded
from postroad_common.store.accounts import Accounts
from postroad_common.store.archive import Archive
from postroad_common.store.audit import AuditLog
from postroad_common.store.audited import AuditedCollection
from postroad_common.store.backlogs import BacklogRecords
from postroad_common.store.bodies import CHUNK, Bodies
from postroad_common.store.credentials import Credentials
from postroad_common.store.domains import Domains
from postroad_common.store.events import Events
from postroad_common.store.idempotency import Idempotency
from postroad_common.store.images import Images
from postroad_common.store.indexes import IMAGE_RETENTION, INDEXES
from postroad_common.store.invitations import Invitations
from postroad_common.store.jobs import Jobs
from postroad_common.store.lanes import Lanes
from postroad_common.store.leases import Leases
from postroad_common.store.ledger import Ledger
from postroad_common.store.marks import Marks
from postroad_common.store.measuring import CommandTimes
from postroad_common.store.messagedirectives import MessageDirectives
from postroad_common.store.messages import Messages
from postroad_common.store.outbox import Outbox
from postroad_common.store.policies import PolicyRecords
from postroad_common.store.privacy import Privacy
from postroad_common.store.replays import Replays
from postroad_common.store.replicas import Replicas
from postroad_common.store.reports import UnmatchedReports
from postroad_common.store.rollups import Rollups
from postroad_common.store.scheduled import Schedule
from postroad_common.store.searches import SavedSearches
from postroad_common.store.sessions import SessionRecords
from postroad_common.store.strikes import Strikes
from postroad_common.store.suppressions import Suppressions
from postroad_common.store.templates import Templates
from postroad_common.store.tokens import Tokens
from postroad_common.store.turns import EndPointTurns
from postroad_common.store.users import Users
from postroad_common.store.webhooks import Webhooks

BELONGINGS = ("users", "credentials", "tokens", "domains", "suppressions", "webhooks")
"""The collections whose documents are deleted with their account."""
NO_TLS = ServerTls()
CLOSE_SECONDS = 5.0  # for saying goodbye: the process ends then, whatever the driver waits for
_EARLY_SECONDS = 30.0  # in which everything may just be starting: ask again soon
_log = structlog.get_logger("store")


class Database:
    """`uri` names the database in its path (`postroad` without one).

    Each repository is built when it is first named: a service has those it uses and no others.
    Building the database does not connect: it may be built while MongoDB is away. A call takes
    `patience` seconds at most: SMTP and REST promise an answer within 5.
    """

    def __init__(self, uri: str, *, patience: float = 3.5, tls: ServerTls = NO_TLS) -> None:
        with tls.mongodb_options() as options:
            self._client: AsyncMongoClient[Document] = AsyncMongoClient(
                uri,
                appname="postroad",
                serverSelectionTimeoutMS=2000,
                connectTimeoutMS=2000,
                timeoutMS=int(patience * 1000),
                maxPoolSize=20,
                w="majority",
                event_listeners=[CommandTimes()],
                **options,
            )
        self._database = self._client.get_default_database("postroad")

    @cached_property
    def accounts(self) -> Accounts:
        """Open the repository of accounts."""
        names = (*BELONGINGS, "sessions", "invitations", "jobs", "saved_searches", "scheduled")
        return Accounts(self._audited("accounts"), {name: self._audited(name) for name in names})

    @cached_property
    def users(self) -> Users:
        """Open the repository of users."""
        return Users(self._audited("users"), self._database["users"])

    @cached_property
    def sessions(self) -> SessionRecords:
        """Open the repository of sessions."""
        return SessionRecords(self._database["sessions"])

    @cached_property
    def invitations(self) -> Invitations:
        """Open the repository of invitations."""
        return Invitations(self._audited("invitations"))

    @cached_property
    def audit(self) -> AuditLog:
        """Open the audit log."""
        return AuditLog(self._database["audit"])

    def _audited(self, name: str) -> AuditedCollection:
        """Return a collection whose changes are told to the audit log."""
        return AuditedCollection(self._database, name, self.audit)

    @cached_property
    def credentials(self) -> Credentials:
        """Open the repository of credentials."""
        return Credentials(self._audited("credentials"))

    @cached_property
    def tokens(self) -> Tokens:
        """Open the repository of tokens."""
        return Tokens(self._audited("tokens"), self._database["tokens"])

    @cached_property
    def messages(self) -> Messages:
        """Open the repository of messages."""
        return Messages(self._database["messages"])

    @cached_property
    def message_directives(self) -> MessageDirectives:
        """Open the repository of what is directed for single messages."""
        return MessageDirectives(self._audited("message_directives"))

    @cached_property
    def events(self) -> Events:
        """Open the repository of events."""
        return Events(self._database["events"])

    @cached_property
    def domains(self) -> Domains:
        """Open the repository of domains."""
        return Domains(self._audited("domains"))

    @cached_property
    def suppressions(self) -> Suppressions:
        """Open the repository of suppressions."""
        return Suppressions(self._audited("suppressions"))

    @cached_property
    def marks(self) -> Marks:
        """Open the repository of marks."""
        return Marks(self._database["marks"])

    @cached_property
    def strikes(self) -> Strikes:
        """Open the repository of strikes."""
        return Strikes(self._database["strikes"])

    @cached_property
    def webhooks(self) -> Webhooks:
        """Open the repository of webhooks."""
        return Webhooks(self._audited("webhooks"))

    @cached_property
    def outbox(self) -> Outbox:
        """Open the repository of what is to be posted to end points."""
        deliveries = self._database["webhook_deliveries"]
        return Outbox(deliveries, EndPointTurns(self._database["webhook_turns"], deliveries))

    @cached_property
    def replays(self) -> Replays:
        """Open the repository of replays."""
        return Replays(self._database["webhook_replays"])

    @cached_property
    def jobs(self) -> Jobs:
        """Open the repository of jobs."""
        return Jobs(self._audited("jobs"), self._database["jobs"], self._database["job_messages"])

    @cached_property
    def scheduled(self) -> Schedule:
        """Open the repository of mail that waits for its time."""
        return Schedule(self._database["scheduled"])

    @cached_property
    def searches(self) -> SavedSearches:
        """Open the repository of saved searches."""
        return SavedSearches(self._database["saved_searches"])

    @cached_property
    def ledger(self) -> Ledger:
        """Open the repository of ledger."""
        return Ledger(self._database["ledger"], self._database["events"], self._database["firsts"])

    @cached_property
    def feedback_reports(self) -> UnmatchedReports:
        """Open the repository of reports that no message was found for."""
        return UnmatchedReports(self._database["feedback_reports"])

    @cached_property
    def rollups(self) -> Rollups:
        """Open the repository of rollups."""
        return Rollups(self._database["rollups"])

    @cached_property
    def hours(self) -> Rollups:
        """Open the counters by hour."""
        return Rollups(self._database["rollups_hours"])

    @cached_property
    def lanes(self) -> Lanes:
        """Open the repository of lanes."""
        return Lanes(self._audited("lanes"))

    @cached_property
    def replicas(self) -> Replicas:
        """Open the repository of replicas."""
        return Replicas(self._database["replicas"])

    @cached_property
    def backlogs(self) -> BacklogRecords:
        """Open the repository of backlogs."""
        return BacklogRecords(self._database["backlogs"])

    @cached_property
    def leases(self) -> Leases:
        """Open the repository of leases."""
        return Leases(self._database["leases"])

    @cached_property
    def policies(self) -> PolicyRecords:
        """Open the repository of policies."""
        return PolicyRecords(self._database["policies"])

    @cached_property
    def images(self) -> Images:
        """Open the repository of images."""
        return Images(self._database["images"], IMAGE_RETENTION)

    @cached_property
    def idempotency(self) -> Idempotency:
        """Open the repository of idempotency."""
        return Idempotency(self._database["idempotency"])

    @cached_property
    def templates(self) -> Templates:
        """Open the repository of templates."""
        return Templates(self._audited("templates"), self._database["template_contents"])

    @cached_property
    def bodies(self) -> Bodies:
        """Open the repository of bodies."""
        bucket = AsyncGridFSBucket(
            self._database,
            "bodies",
            chunk_size_bytes=CHUNK,
            write_concern=WriteConcern(w="majority", j=True),
        )
        return Bodies(bucket, self._database["bodies.files"])

    @cached_property
    def archive(self) -> Archive:
        """Open the content of messages."""
        return Archive(self._database["archive"], self.bodies)

    @cached_property
    def privacy(self) -> Privacy:
        """Open what deletes the traces of a person."""
        names = self._database
        return Privacy(
            messages=names["messages"],
            events=names["events"],
            deliveries=names["webhook_deliveries"],
            reports=names["feedback_reports"],
            searches=(names["jobs"], names["saved_searches"]),
            bodies=self.bodies,
            archive=self.archive,
        )

    @guarded
    async def check(self) -> None:
        """Raise StoreAway unless a primary answers: a readiness check."""
        await self._client.admin.command("ping")

    async def prepare(self, only: Container[str] = frozenset(INDEXES)) -> None:
        """Create the indexes of the collections in `only`, as soon as the database is there."""
        pause = 0.5
        early_until = asyncio.get_running_loop().time() + _EARLY_SECONDS
        while True:
            try:
                for name, indexes in INDEXES.items():
                    if name in only:
                        await self._database[name].create_indexes(indexes)
                if "suppressions" in only:
                    await self._name_domains()
            except PyMongoError as error:
                _log.warning(
                    "database not ready, trying again",
                    error=str(error)[:300] + explain_tls(str(error), "POSTROAD_MONGODB"),
                    seconds=pause,
                )
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                early = asyncio.get_running_loop().time() < early_until
                pause = pause if early else min(10.0, pause * 2)
            else:
                _log.info("database ready")
                return

    async def _name_domains(self) -> None:
        """Give suppressions their domain that were made before it was looked for."""
        domain = {"$arrayElemAt": [{"$split": ["$address", "@"]}, -1]}
        await self._database["suppressions"].update_many(
            {"domain": None}, [{"$set": {"domain": domain}}]
        )

    async def close(self) -> bool:
        """Close the connections; False, and they are left, if the driver comes to no end."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.close()
        except TimeoutError:
            _log.warning("the driver of MongoDB does not close")
            return False
        return True
