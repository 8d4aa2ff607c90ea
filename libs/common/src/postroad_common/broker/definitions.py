"""RabbitMQ's definitions, which it imports: the users of the services, and the whole topology."""

import base64
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postroad_common.broker.rights import ALL_RIGHTS, RIGHTS
from postroad_common.broker.topology import EXCHANGES, QUEUES

_SALT_SIZE = 4


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """Who a service is to the broker."""

    user: str
    password: str


def users_of(
    vhost: str, logins: Mapping[str, BrokerLogin], administrator: BrokerLogin | None = None
) -> dict[str, Any]:
    """Define a user for each service in `logins`, and what it may do."""
    users = [_user(login) for login in logins.values()]
    permissions = [
        {"user": login.user, "vhost": vhost, **RIGHTS[service].permission()}
        for service, login in logins.items()
    ]
    if administrator is not None:
        users.append(_user(administrator, "administrator"))
        rights = ALL_RIGHTS.permission()
        permissions.append({"user": administrator.user, "vhost": vhost, **rights})
    return {"vhosts": [{"name": vhost}], "users": users, "permissions": permissions}


def topology_of(vhost: str) -> dict[str, Any]:
    """Define all exchanges, queues and bindings.

    A quorum queue gets its copies when it is made: so this is for a broker whose nodes are all
    there already.
    """
    return {
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in EXCHANGES
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": queue.declaration,
            }
            for queue in QUEUES
        ],
        "bindings": [
            {
                "source": exchange,
                "vhost": vhost,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for queue in QUEUES
            for exchange, key in queue.bindings
        ],
    }


def _user(login: BrokerLogin, *tags: str) -> dict[str, Any]:
    return {
        "name": login.user,
        "password_hash": hashed(login.password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(tags),
    }


def hashed(password: str) -> str:
    """Return a password as RabbitMQ keeps it: a salt, and the hash of both."""
    salt = os.urandom(_SALT_SIZE)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
