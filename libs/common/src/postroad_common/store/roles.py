"""What each service may do in the database: the one table, and the roles that are made of it.

A service opens the repositories that stand here beside its name and has the rights on collections
that they need, no others. `rolemaking` makes the roles and users; where nobody has made them, the
services work with whatever user their URI names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any


class Right(Flag):
    """What may be done with the documents of a collection."""

    READ = auto()
    ADD = auto()
    CHANGE = auto()
    REMOVE = auto()


READ, ADD, CHANGE, REMOVE = Right
KEEP = READ | ADD | CHANGE
"""To read, and to write without ever deleting."""
ALL = KEEP | REMOVE

_ACTIONS = {
    READ: ("find",),
    # Whoever writes the first document of a collection makes its indexes.
    ADD: ("insert", "createIndex", "listIndexes"),
    CHANGE: ("update",),
    REMOVE: ("remove",),
}


@dataclass(frozen=True)
class Role:
    """The repositories that a service opens, and its rights by the name of the collection."""

    opens: frozenset[str]
    rights: Mapping[str, Right]

    @property
    def prepares(self) -> frozenset[str]:
        """The collections whose indexes the service makes."""
        return frozenset(name for name, right in self.rights.items() if ADD in right)

    def privileges(self, database: str) -> list[dict[str, Any]]:
        """Return the privileges of MongoDB's `createRole`, in the order of the collections."""
        return [
            {
                "resource": {"db": database, "collection": name},
                "actions": [action for each in right for action in _ACTIONS[each]],
            }
            for name, right in sorted(self.rights.items())
        ]


def _role(*opens: str, **rights: Right) -> Role:
    """Make a role; `bodies` stands for both collections of the bucket."""
    named = dict(rights)
    bodies = named.pop("bodies", None)
    if bodies is not None:
        named["bodies.files"] = bodies
        # A body that could not be written to its end is taken away again.
        named["bodies.chunks"] = (bodies | REMOVE if ADD in bodies else bodies) & ~CHANGE
    return Role(frozenset(opens), named)


ROLES: Mapping[str, Role] = {
    "ingress-smtp": _role(
        *("accounts", "bodies", "credentials", "domains", "rollups"),
        accounts=READ,
        bodies=READ | ADD,
        credentials=READ,
        domains=READ,
        rollups=READ,
    ),
    "ingress-http": _role(
        *("accounts", "archive", "audit", "backlogs", "bodies", "credentials", "domains"),
        *("events", "feedback_reports", "hours", "idempotency", "invitations", "jobs", "lanes"),
        *(
            "message_directives",
            "messages",
            "outbox",
            "privacy",
            "replays",
            "rollups",
            "scheduled",
            "searches",
            "sessions",
        ),
        *("strikes", "suppressions", "templates", "tokens", "users", "webhooks"),
        accounts=ALL,
        archive=READ | CHANGE | REMOVE,
        audit=KEEP,
        backlogs=READ,
        bodies=READ | ADD | CHANGE | REMOVE,
        credentials=ALL,
        domains=ALL,
        events=READ | CHANGE,
        feedback_reports=READ | REMOVE,
        idempotency=ALL,
        invitations=ALL,
        job_messages=KEEP,
        jobs=ALL,
        lanes=KEEP,
        message_directives=KEEP,
        messages=READ | CHANGE,
        rollups=READ,
        rollups_hours=READ,
        saved_searches=ALL,
        scheduled=ALL,
        sessions=ALL,
        strikes=READ | REMOVE,
        suppressions=ALL,
        template_contents=ALL,
        templates=ALL,
        tokens=ALL,
        users=ALL,
        webhook_deliveries=ALL,
        webhook_replays=READ | ADD,
        webhook_turns=ALL,
        webhooks=ALL,
    ),
    "transformer": _role(
        *("archive", "bodies", "domains", "images", "marks", "suppressions"),
        archive=ADD,
        bodies=KEEP,
        domains=READ,
        images=KEEP,
        marks=ALL,
        suppressions=READ,
    ),
    "sender": _role(
        *("backlogs", "bodies", "lanes", "leases", "message_directives", "policies", "replicas"),
        backlogs=ALL,
        bodies=READ,
        lanes=KEEP,
        leases=KEEP,
        message_directives=READ,
        policies=KEEP,
        replicas=ALL,
    ),
    "bounce-processor": _role(
        *("bodies", "credentials", "feedback_reports", "marks", "messages", "strikes"),
        *("suppressions", "tokens"),
        bodies=ALL,
        credentials=READ,
        feedback_reports=ADD | CHANGE,
        marks=ALL,
        messages=READ,
        strikes=ALL,
        suppressions=KEEP,
        tokens=READ,
    ),
    "tracker": _role("images", images=READ),
    "feedback": _role(
        *("archive", "bodies", "events", "hours", "ledger", "marks", "messages", "outbox"),
        *("replays", "rollups", "suppressions", "webhooks"),
        archive=ADD,
        bodies=READ | REMOVE,
        events=KEEP,
        firsts=READ | ADD,
        ledger=READ | ADD | REMOVE,
        marks=ALL,
        messages=KEEP,
        rollups=KEEP,
        rollups_hours=KEEP,
        suppressions=KEEP,
        webhook_deliveries=KEEP,
        webhook_replays=READ | CHANGE,
        webhook_turns=ALL,
        webhooks=READ | CHANGE,
    ),
}
"""By the name of the service."""
