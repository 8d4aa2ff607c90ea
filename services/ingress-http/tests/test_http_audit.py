"""What is told of changes: who made them, when and where, with what was before."""

from typing import Any

import httpx
import pytest

from postroad_common.store.accounts import Account
from postroad_common.store.audit import Actor, act_as, nobody_acts
from postroad_common.store.suppressions import Suppression

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_every_change_is_told_with_who_when_where_before_and_after(api: httpx.AsyncClient):
    made = (await api.post("/v1/credentials", json={"name": "told"})).json()
    path = f"/v1/credentials/{made['username']}"
    await api.patch(path, json={"name": "told again"})
    await api.post(f"{path}/rotate")
    await api.delete(path)
    answer = await api.get("/v1/audit", params={"target": made["username"]})
    entries = answer.json()["items"]
    assert [entry["action"] for entry in entries] == [
        "credentials.delete",
        "credentials.update",
        "credentials.update",
        "credentials.create",
    ]
    assert made["password"] not in answer.text
    renamed = entries[2]
    assert renamed["before"]["name"] == "told"
    assert renamed["after"]["name"] == "told again"
    assert renamed["actor"]["kind"] == "token"
    assert renamed["actor"]["address"] == "127.0.0.1"
    assert entries[1]["before"]["password_hash"] == "(secret) old"
    assert "argon2" not in answer.text


async def test_audit_log_pages_without_gaps(api: httpx.AsyncClient):
    for number in range(5):
        await api.post("/v1/suppressions", json={"address": f"page{number}@audit.example"})
    found: list[str] = []
    query: dict[str, str | int] = {"noun": "suppressions", "limit": 2}
    while True:
        page = (await api.get("/v1/audit", params=query)).json()
        found += [entry["target"] for entry in page["items"]]
        if not page["cursor"]:
            break
        query["cursor"] = page["cursor"]
    assert [f"page{number}@audit.example" for number in reversed(range(5))] == found[:5]


async def test_what_nobody_changed_is_not_told(api: httpx.AsyncClient, site: Any):
    made = (await api.post("/v1/credentials", json={"name": "same"})).json()
    before = len(await site.database.audit.list("main"))
    await api.get(f"/v1/credentials/{made['username']}")
    await site.database.credentials.update("main", made["username"], {"disabled": True})
    assert len(await site.database.audit.list("main")) == before


async def test_many_changes_at_once_are_told_as_one(site: Any):
    actor = Actor("user", "bulk@main.example", "bulk")
    with nobody_acts():
        act_as(actor)
        await site.database.suppressions.add(
            _suppression(f"a{number}@bulk.example") for number in range(150)
        )
    (entry,) = await site.database.audit.list("bulk")
    assert (entry.action, entry.after["number"]) == ("suppressions.import", 150)


def _suppression(address: str) -> Any:
    return Suppression("bulk", address, "test", "manual", 1.0, None)


def _account(account_id: str) -> Any:
    return Account(account_id)
