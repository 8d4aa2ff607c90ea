"""Suppressions over REST and in the dashboard: lists, domains, bulk, CSV and search."""

import csv
import io
import re
from typing import Any

import httpx
import pytest

from postroad_common.store.accounts import Account
from postroad_ingress_http.history.suppressions import read_csv
from postroad_ingress_http.http.errors import ApiError

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_entry_holds_for_one_list_or_all_mail_and_is_removed_so(api: httpx.AsyncClient):
    body = {"address": "Ann@List.example", "list": " Weekly  News "}
    made = await api.post("/v1/suppressions", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["address"], made.json()["list"]) == ("ann@list.example", "weekly news")
    path = "/v1/suppressions/ann@list.example"
    assert (await api.get(path)).status_code == 404  # other mail is sent
    assert (await api.get(path, params={"list": "Weekly News"})).status_code == 200
    await api.post("/v1/suppressions", json={"address": "ann@list.example"})
    assert (await api.get(path)).status_code == 200
    assert (await api.delete(path, params={"list": "weekly news"})).status_code == 204
    assert (await api.get(path)).status_code == 200
    assert (await api.delete(path)).status_code == 204
    assert (await api.delete(path)).status_code == 404


async def test_post_never_weakens_and_answers_with_what_holds(api: httpx.AsyncClient):
    address = "angry@weak.example"
    for kind, expires in (("complaint", None), ("manual", "2099-01-01"), ("hard", None)):
        body = {"address": address, "kind": kind, "expires": expires, "reason": kind}
        held = (await api.post("/v1/suppressions", json=body)).json()
        assert (held["kind"], held["reason"], held["expires"]) == ("complaint", "complaint", None)


async def test_whole_domain_is_suppressed(api: httpx.AsyncClient):
    made = await api.post("/v1/suppressions", json={"address": "@B\u00fccher.example"})
    assert made.json()["address"] == "@xn--bcher-kva.example"
    assert (await api.get("/v1/suppressions/@xn--bcher-kva.example")).status_code == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"address": "@"}, "address"),
        ({"address": "@a b"}, "address"),
        ({"address": "nobody"}, "address"),
        ({"address": "a@b.example", "kind": "soft"}, "kind"),
        ({"address": "a@b.example", "list": "x\u0000y"}, "list"),
        ({"address": "a@b.example", "reason": "\u001b]0;owned"}, "reason"),
    ],
)
async def test_wrong_field_is_named(api: httpx.AsyncClient, fields: dict[str, str], field: str):
    answer = await api.post("/v1/suppressions", json=fields)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_import_takes_what_it_can_and_export_gives_it_back(site: Any):
    await site.database.accounts.create(Account("csv"))
    rows = 'address,kind,list,reason\n"ann@csv.example",hard,,"gone, long ago"\n'
    rows += "nonsense,,,\nbob@csv.example,complaint,,=1+2\n@csv.test,manual,news,\n"
    async with site.client(**{"X-Postroad-Account": "csv"}) as client:
        done = await client.post("/v1/suppressions/import", json={"csv": rows})
        assert done.status_code == 200, done.text
        assert (done.json()["added"], done.json()["refused"]) == (3, 1)
        assert done.json()["problems"][0]["row"] == 2
        items = [{"address": f"x{number}@csv.example"} for number in range(600)]
        more = await client.post("/v1/suppressions/import", json={"items": items})
        assert more.json()["added"] == 600
        exported = await client.get("/v1/suppressions/export")
        assert exported.headers["content-type"] == "text/csv; charset=utf-8"
        found = list(csv.DictReader(io.StringIO(exported.text)))
        assert len(found) == 603
        ann = next(row for row in found if row["address"] == "ann@csv.example")
        assert (ann["kind"], ann["reason"]) == ("hard", "gone, long ago")
        assert len({(row["address"], row["list"]) for row in found}) == 603
        again = await client.post("/v1/suppressions/import", files={"csv": exported.text})
        assert again.json() == {"added": 603, "refused": 0, "problems": []}
        only = await client.get("/v1/suppressions/export", params={"kind": "complaint"})
        assert len(only.text.splitlines()) == 2
        assert ",'=1+2," in only.text  # no formula in a spreadsheet
        bob = await client.get("/v1/suppressions/bob@csv.example")
        assert bob.json()["reason"] == "=1+2"


async def test_import_of_many_is_written_in_parts_and_loses_none(api: httpx.AsyncClient):
    rows = [{"address": f"n{number}@parts.example"} for number in range(2001)]
    answer = await api.post("/v1/suppressions/import", json={"items": rows}, timeout=90)
    assert answer.json() == {"added": 2001, "refused": 0, "problems": []}
    found = (await api.get("/v1/suppressions/export")).text
    assert found.count("@parts.example,") == 2001


async def test_csv_without_names_has_the_columns_in_their_order():
    (row,) = read_csv("\ufeffann@a.example,hard\r\n")
    assert row == {"address": "ann@a.example", "kind": "hard"}
    for broken in ('address,kind\n"ann@a.example,hard', "address,colour\nann@a.example,red"):
        with pytest.raises(ApiError) as caught:
            read_csv(broken)
        assert caught.value.field == "csv"


async def test_search_finds_by_address_domain_kind_and_list(api: httpx.AsyncClient):
    for address, kind, list_name in (
        ("zoe@s.example", "hard", ""),
        ("zoe@s.example", "unsubscribe", "zoo"),
        ("zora@t.example", "complaint", ""),
    ):
        body = {"address": address, "kind": kind, "list": list_name}
        await api.post("/v1/suppressions", json=body)
    for query, count in (
        ({"address": "zo"}, 3),
        ({"address": "zoe"}, 2),
        ({"domain": "t.example"}, 1),
        ({"list": "zoo"}, 1),
        ({"address": "zo", "kind": "complaint"}, 1),
        ({"address": "zo", "list": ""}, 2),
    ):
        found = (await api.get("/v1/suppressions", params=query)).json()["items"]
        assert len(found) == count, query
    first = (await api.get("/v1/suppressions", params={"address": "zo", "limit": 2})).json()
    rest = {"address": "zo", "limit": 2, "cursor": first["cursor"]}
    assert len((await api.get("/v1/suppressions", params=rest)).json()["items"]) == 1


async def test_dashboard_searches_adds_imports_and_exports(browser: httpx.AsyncClient):
    page = "/dashboard/suppressions"

    async def send(path: str, **more: Any) -> httpx.Response:
        found = re.search(r'name="csrf" value="(\w+)"', (await browser.get(page)).text)
        assert found
        data = {"csrf": found[1], **more.pop("data", {})}
        return await browser.post(path, data=data, **more)

    await send(page, data={"address": "@dash.example", "list": "news"})
    done = await send(f"{page}/import", files={"csv": b"dan@dash.example,hard\nwrong,hard\n"})
    assert done.headers["location"] == f"{page}/imported"
    refused = (await browser.get(f"{page}/imported")).text
    assert "postroad_note" not in browser.cookies
    assert "1 address suppressed, 1 refused" in refused
    assert "Row 2: wrong" in refused
    hard = await browser.get(f"{page}/export", params={"kind": "hard"})
    assert "dan@dash.example,hard" in hard.text
    assert "@dash.example,manual" not in hard.text
    late = {"address": "eve@until.example", "kind": "unsubscribe", "expires": "2001-01-01T00:00"}
    assert (await send(page, data=late)).status_code == 400
    await send(page, data=late | {"expires": "2222-01-01T00:00"})
    soft = "3 days with soft bounces, last: mailbox-full: 552 no room"
    await send(page, data={"address": "sam@until.example", "reason": soft})
    until = (await browser.get(page, params={"domain": "until.example"})).text
    assert "The mailbox of the recipient is full." in until
    assert "last: mailbox-full: 552 no room" in until
    assert "unsubscribe" in until
    assert "2222" in until
    shown = (await browser.get(page, params={"domain": "dash.example"})).text
    assert "@dash.example" in shown
    assert "dan@dash.example" in shown
    assert "No suppression fits" in (await browser.get(page, params={"address": "nobody"})).text
    exported = await browser.get(f"{page}/export")
    assert "dan@dash.example,hard" in exported.text
    await send(f"{page}/delete", data={"address": "@dash.example", "list": "news"})
    left = (await browser.get(page, params={"domain": "dash.example"})).text
    assert "@dash.example</td>" in left
    assert left.count("dash.example</td>") == 1


async def test_mail_names_its_list_by_field_or_header_and_its_sender_is_known(
    site: Any, api: httpx.AsyncClient
):
    mail = {"recipient": "x@a.example", "from": "Shop <News@Shop.example>", "text": "hello"}
    await api.post("/v1/send", json={**mail, "list": "Weekly"})
    submission, _ = await site.last()
    assert (submission.list, submission.sender) == ("weekly", "news@shop.example")
    mime = "From: a@a.example\nX-Postroad-List: Offers\n\nhello\n"
    await api.post("/v1/send", json={"recipient": "x@a.example", "mime": mime, "list": "weekly"})
    submission, message = await site.last()
    assert submission.list == "offers"
    assert b"offers" not in message.lower()
    refused = await api.post("/v1/send", json={**mail, "list": "a\u0001b"})
    assert refused.json()["error"]["field"] == "list"


async def test_path_that_is_written_out_takes_no_method_of_an_address(api: httpx.AsyncClient):
    for method, path, allow in (
        ("DELETE", "/v1/suppressions/export", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/suppressions/import", "OPTIONS, POST"),
        ("GET", "/v1/suppressions/import", "OPTIONS, POST"),
    ):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
