"""Complaint feeds by REST and in the dashboard: addresses, and reports without a message."""

import time
from typing import Any

import httpx
import pytest

from postroad_common.mail.feedbackloop import FeedbackAddress, FeedbackAddresses
from postroad_common.mail.identifiers import new_id
from postroad_common.store.reports import UnmatchedReport
from postroad_common.tokens import Keyring

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _keep(site: Any, **changes: Any) -> UnmatchedReport:
    values: dict[str, Any] = {
        "id": new_id(),
        "account": "main",
        "address": "fbl@bounce.localhost",
        "received": time.time(),
        "mail_from": "fbl@provider.example",
        "client": "192.0.2.7",
        "subject": "FW: Your order <b>",
        "reason": "it holds no trace of a message of ours",
        "type": "abuse",
        "reporter": "provider.example",
        "text": "This is an abuse report for <kim@example.net>.",
    }
    report = UnmatchedReport(**(values | changes))
    await site.database.feedback_reports.add([report])
    return report


async def _token(api: httpx.AsyncClient, *scopes: str) -> dict[str, str]:
    made = (await api.post("/v1/tokens", json={"name": "x", "scopes": list(scopes)})).json()
    return {"Authorization": f"Bearer {made['token']}"}


async def test_the_addresses_are_those_that_the_mx_listener_takes(
    site: Any, api: httpx.AsyncClient
):
    settings = site.context.settings
    listener = FeedbackAddresses(Keyring(settings.secret), settings.bounce_domain)
    found = (await api.get("/v1/feeds")).json()
    assert {name: listener.read(address) for name, address in found.items()} == {
        "account": FeedbackAddress(secret=True, account="main"),
        "deployment": FeedbackAddress(secret=True),
        "open": FeedbackAddress(secret=False),
    }


async def test_what_is_the_deployments_needs_a_scope_of_its_own(site: Any, api: httpx.AsyncClient):
    report = await _keep(site, account="")
    path = f"/v1/feeds/reports/{report.id}"
    reader = await _token(api, "messages")
    query = {"owner": "deployment"}
    assert (await api.get("/v1/feeds", headers=reader)).json()["deployment"] is None
    for refused in (
        await api.get("/v1/feeds/reports", params=query, headers=reader),
        await api.get(path, params=query, headers=reader),
        await api.delete(path, params=query, headers=reader),
    ):
        assert refused.status_code == 403
    assert (await api.get(path, headers=reader)).status_code == 404
    operator = await _token(api, "messages", "queues:read")
    assert (await api.get(path, params=query, headers=operator)).json()["id"] == report.id
    assert (await api.delete(path, params=query, headers=operator)).status_code == 403


async def test_reports_come_in_pages_newest_first(site: Any, api: httpx.AsyncClient):
    kept = [(await _keep(site, subject=f"report {number}")).id for number in range(3)]
    await _keep(site, account="other")
    first = (await api.get("/v1/feeds/reports", params={"limit": "2"})).json()
    assert [item["id"] for item in first["items"]] == [kept[2], kept[1]]
    assert "text" not in first["items"][0]
    rest = await api.get("/v1/feeds/reports", params={"limit": "2", "cursor": first["cursor"]})
    assert rest.json()["items"][0]["id"] == kept[0]


async def test_one_report_has_its_text_and_can_be_deleted(site: Any, api: httpx.AsyncClient):
    report = await _keep(site)
    path = f"/v1/feeds/reports/{report.id}"
    assert (await api.get(path)).json()["text"] == report.text
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    assert (await api.delete(path)).status_code == 404


async def test_the_dashboard_shows_and_deletes_a_report(site: Any, browser: httpx.AsyncClient):
    report = await _keep(site)
    page = await browser.get("/dashboard/feeds")
    assert "fbl@" in page.text
    assert f"/dashboard/feeds/account/{report.id}" in page.text
    assert "FW: Your order &lt;b&gt;" in page.text
    path = f"/dashboard/feeds/account/{report.id}"
    shown = await browser.get(path)
    assert "This is an abuse report for &lt;kim@example.net&gt;." in shown.text
    gone = await browser.post(f"{path}/delete", data={"csrf": site.csrf_of(shown.text)})
    assert gone.status_code == 303
    assert (await browser.get(path)).status_code == 404


async def test_the_dashboard_shows_what_came_to_no_account(site: Any, browser: httpx.AsyncClient):
    report = await _keep(site, account="")
    assert report.id in (await browser.get("/dashboard/feeds/deployment")).text
    assert report.id not in (await browser.get("/dashboard/feeds")).text
    assert (await browser.get(f"/dashboard/feeds/deployment/{report.id}")).status_code == 200
    assert (await browser.get(f"/dashboard/feeds/account/{report.id}")).status_code == 404
