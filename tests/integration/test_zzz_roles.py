"""Who each service was to the servers, and what was in its environment, in all the tests before.

Last in the alphabet: what a service did beyond its role stands in its log by now.
"""

import contextlib
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import psutil
from pymongo import MongoClient

from postroad_stack.plan import SERVICES


def test_every_service_is_a_user_of_its_own_in_the_database(
    road: Any, make_mail: Callable[..., EmailMessage], subject: str
) -> None:
    sent = road.submit(make_mail(subject), ["bob@receiver.test"])
    road.wait_state(sent.id, "delivered")
    seen: set[str] = set()
    with MongoClient[dict[str, Any]](road.stack.document.mongodb) as client:

        def all_are_there() -> bool:
            connections = client.admin.aggregate(
                [{"$currentOp": {"allUsers": True, "idleConnections": True}}]
            )
            seen.update(
                f"{user['db']}.{user['user']}"
                for each in connections
                if each.get("appName") == "postroad"
                for user in each.get("effectiveUsers", ())
            )
            # The tracker asks for images only.
            return seen >= {f"postroad.{name}" for name in SERVICES if name != "tracker"}

        road.until(all_are_there, "every service is known to the database", lambda: str(seen))
    assert seen <= {f"postroad.{name}" for name in SERVICES}


def test_no_service_was_refused_for_what_its_role_lacks(road: Any) -> None:
    refused = [
        f"{service}: {line[:300]}"
        for service in SERVICES
        for line in road.stack.log(service).read_text(errors="replace").splitlines()
        if "not authorized on postroad" in line
    ]
    assert refused == []


def test_only_the_service_with_the_dashboard_has_the_administrators_secrets(road: Any) -> None:
    holders: dict[str, bool] = {}

    def all_were_looked_at() -> bool:
        for service in SERVICES:
            for each in road.stack.processes(service):
                with contextlib.suppress(psutil.NoSuchProcess):  # it is being started again
                    names = psutil.Process(each.pid).environ() if each.pid else {}
                    if "POSTROAD_SECRET" in names:
                        holders[service] = any("POSTROAD_ADMIN_" in name for name in names)
        return set(holders) == set(SERVICES)

    road.until(all_were_looked_at, "every service runs", lambda: str(holders))
    assert [service for service, has_them in holders.items() if has_them] == ["ingress-http"]
