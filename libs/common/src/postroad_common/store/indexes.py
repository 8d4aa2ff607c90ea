"""The indexes of the collections, and how long their documents are kept."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from postroad_common.schemas.events import OWN_MAIL
from postroad_common.store.lanes import HELD
from postroad_common.store.searching import (
    BY_ACCOUNT,
    BY_SOURCE,
    BY_STATE,
    BY_TEMPLATE,
    BY_TERM,
    UNUSUAL,
    by_reaction,
)

_DAY = 86_400
RETENTION = 90 * _DAY
"""Seconds that messages and events are kept."""
ROLLUP_RETENTION = 800 * _DAY
HOURS_RETENTION = 14 * _DAY
DELIVERY_RETENTION = 14 * _DAY
IMAGE_RETENTION = 365 * _DAY
"""Seconds that a hosted image is kept after the last mail that shows it."""

JOB_RETENTION = 30 * _DAY
"""Seconds that a job and what it did are kept."""
AUDIT_RETENTION = 400 * _DAY
"""Seconds that the audit log is kept."""

FAULTS = ("bounced", "failed", "complained", "suppressed")
"""The events of mail that did not arrive as it should: they have an index."""
REACTED: dict[str, Any] = {"opens": {"$gt": 0}, "clicks": {"$gt": 0}, "complained": True}

INDEXES: dict[str, list[IndexModel]] = {
    "users": [IndexModel([("account", ASCENDING)])],
    "sessions": [
        IndexModel([("email", ASCENDING), ("seen", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "invitations": [
        IndexModel([("account", ASCENDING), ("kind", ASCENDING)]),
        IndexModel([("email", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "audit": [
        IndexModel([("account", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("account", ASCENDING), ("target", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=AUDIT_RETENTION),
    ],
    "credentials": [IndexModel([("account", ASCENDING)])],
    "tokens": [
        IndexModel([("secret_hash", ASCENDING)], unique=True),
        IndexModel([("account", ASCENDING)]),
    ],
    "messages": [
        IndexModel(BY_ACCOUNT),
        IndexModel([("recipient", ASCENDING), ("_id", DESCENDING)]),
        IndexModel(BY_TERM),
        # Those below leave out what is usual and would cost every message its upkeep: messages
        # delivered, which most are by the time their events are written, and not reacted to.
        IndexModel(
            BY_STATE,
            name="states",
            partialFilterExpression={"rank": {"$in": list(UNUSUAL)}},
        ),
        IndexModel(
            BY_SOURCE,
            name="own_mail",
            partialFilterExpression={"source": {"$in": list(OWN_MAIL)}},
        ),
        *(
            IndexModel(by_reaction(name), name=name, partialFilterExpression={name: value})
            for name, value in REACTED.items()
        ),
        IndexModel(BY_TEMPLATE, sparse=True),
        IndexModel([("message_id", ASCENDING)], sparse=True),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION),
    ],
    "events": [
        IndexModel([("message", ASCENDING), ("time", ASCENDING)]),
        IndexModel([("data.about", ASCENDING)], sparse=True),
        IndexModel([("account", ASCENDING), ("time", DESCENDING), ("_id", DESCENDING)]),
        # What went wrong, which is little and looked for; delivered mail costs it nothing.
        IndexModel(
            [
                ("account", ASCENDING),
                ("event", ASCENDING),
                ("time", DESCENDING),
                ("_id", DESCENDING),
            ],
            name="faults",
            partialFilterExpression={"event": {"$in": list(FAULTS)}},
        ),
        IndexModel([("waiting", ASCENDING), ("time", ASCENDING)], sparse=True),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION),
    ],
    "firsts": [IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION)],
    "rollups": [
        IndexModel([("account", ASCENDING), ("tag", ASCENDING), ("day", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("day", DESCENDING), ("tag", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=ROLLUP_RETENTION),
    ],
    "rollups_hours": [
        IndexModel([("account", ASCENDING), ("tag", ASCENDING), ("day", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=HOURS_RETENTION),
    ],
    "webhook_deliveries": [
        IndexModel([("webhook", ASCENDING), ("state", ASCENDING), ("due", ASCENDING)]),
        IndexModel([("webhook", ASCENDING), ("since", DESCENDING), ("_id", DESCENDING)]),
        IndexModel([("message", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=DELIVERY_RETENTION),
    ],
    "webhook_turns": [
        IndexModel([("next", ASCENDING)]),
        IndexModel([("gap", ASCENDING)], sparse=True),
    ],
    "webhook_replays": [
        IndexModel([("finished", ASCENDING), ("lease", ASCENDING)]),
        IndexModel([("webhook", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=DELIVERY_RETENTION),
    ],
    "jobs": [
        IndexModel([("finished", ASCENDING), ("lease", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=JOB_RETENTION),
    ],
    "scheduled": [
        IndexModel([("state", ASCENDING), ("due", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("state", ASCENDING), ("due", ASCENDING)]),
        IndexModel([("messages", ASCENDING)]),
        IndexModel([("recipients", ASCENDING)], sparse=True),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "job_messages": [
        IndexModel([("job", ASCENDING), ("ending", ASCENDING), ("message", DESCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=JOB_RETENTION),
    ],
    "saved_searches": [
        IndexModel([("account", ASCENDING), ("email", ASCENDING), ("name", ASCENDING)], unique=True)
    ],
    "feedback_reports": [
        IndexModel([("account", ASCENDING), ("_id", DESCENDING)]),
        IndexModel([("recipient", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=RETENTION),
    ],
    "templates": [IndexModel([("account", ASCENDING), ("name", ASCENDING)], unique=True)],
    "domains": [
        IndexModel([("account", ASCENDING)]),
        IndexModel([("domain", ASCENDING)]),
        IndexModel([("due", ASCENDING)]),
        # Set with `verified`: a domain is verified in one account only.
        IndexModel([("held", ASCENDING)], unique=True, sparse=True),
    ],
    "suppressions": [
        IndexModel([("account", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("domain", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("kind", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("account", ASCENDING), ("list", ASCENDING), ("_id", ASCENDING)]),
        IndexModel([("created", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "marks": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "strikes": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "webhooks": [IndexModel([("account", ASCENDING)])],
    "message_directives": [
        IndexModel([("changed", ASCENDING)]),
        IndexModel([("account", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "lanes": [
        IndexModel([("ordered", ASCENDING)]),
        # Few lanes are held back, and those that are not pay nothing for this.
        IndexModel(
            [("state.phase", ASCENDING)],
            name="held",
            partialFilterExpression={"state.phase": {"$in": list(HELD)}},
        ),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=7 * _DAY),
    ],
    "replicas": [IndexModel([("at", ASCENDING)], expireAfterSeconds=600)],
    "backlogs": [IndexModel([("home", ASCENDING)])],
    "leases": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "policies": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "images": [IndexModel([("at", ASCENDING)], expireAfterSeconds=0)],
    "idempotency": [IndexModel([("at", ASCENDING)], expireAfterSeconds=_DAY)],
    "archive": [
        IndexModel([("entries.submission", ASCENDING)]),
        IndexModel([("at", ASCENDING)], expireAfterSeconds=0),
    ],
    "bodies.files": [IndexModel([("metadata.expires", ASCENDING)])],
}
