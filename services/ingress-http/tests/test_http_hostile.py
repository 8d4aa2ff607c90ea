"""No input makes a 5xx: octets, times, cursors and parameters that no honest client sends."""

import base64
import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ENDS = ("0001-01-01", "9999-12-31", "9999-12-31 23:59:59", "0001-01-01T00:00:00+23:59")


def cursor(*position: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "form",
    [
        b"recipient=%ff@a.example&body=From:%20a@a.example%0a%0ax",
        b"recipient=a@a.example&from=%ff&to=b@b.example&text=x",
        b"recipients[%ff@a.example]=&body=From:%20a@a.example%0a%0ax",
        b"%ff=1",
    ],
)
async def test_octets_that_are_no_utf8_are_refused_outside_of_a_message(
    api: httpx.AsyncClient, form: bytes
):
    answer = await api.post("/v1/send", content=form, headers=FORM)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


async def test_octets_that_are_no_utf8_survive_in_a_message(api: httpx.AsyncClient, site: Any):
    form = b"recipient=a@a.example&body=From:%20a@a.example%0a%0ax%ff"
    answer = await api.post("/v1/send", content=form, headers=FORM)
    assert answer.status_code == 200, answer.text
    assert (await site.last())[1].endswith(b"x\xff\r\n")


async def test_octets_that_are_no_utf8_are_refused_in_forms_of_the_dashboard(
    browser: httpx.AsyncClient,
):
    answer = await browser.post("/dashboard/login", content=b"email=%ff&csrf=%ff", headers=FORM)
    assert answer.status_code == 400
    assert "UTF-8" in answer.text


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("/v1/messages", ["\ud800"]),
        ("/v1/messages", ["a\0b"]),
        ("/v1/credentials", ["\udfff"]),
        ("/v1/suppressions", ["\ud800"]),
        ("/v1/lanes", ["\ud800"]),
        ("/v1/events", [float("nan"), "x"]),
        ("/v1/events", [float("inf"), "x"]),
        ("/v1/events", [1.0, "\ud800"]),
    ],
)
async def test_cursor_that_was_not_given_out_is_refused(
    api: httpx.AsyncClient, path: str, position: list[object]
):
    answer = await api.get(path, params={"cursor": cursor(*position)})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "cursor"


@pytest.mark.parametrize("moment", ENDS)
@pytest.mark.parametrize("name", ["start", "end"])
async def test_ends_of_the_calendar_are_times_like_others(
    api: httpx.AsyncClient, name: str, moment: str
):
    for path in ("/v1/messages", "/v1/events", "/v1/events/email/a@b.example"):
        answer = await api.get(path, params={name: moment})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_ends_of_the_calendar_are_days_like_others(api: httpx.AsyncClient, day: str):
    for name in ("start", "end"):
        answer = await api.get("/v1/stats", params={name: day})
        assert answer.status_code in {200, 400}, answer.text
    assert (await api.get("/v1/stats", params={"start": day, "end": day})).status_code == 200
    assert (await api.get(f"/v1/logfiles/{day}")).status_code == 200
    answer = await api.get(f"/v1/logfiles/deliveries.{day}.log/json")
    assert (answer.status_code, answer.json()) == (200, [])
    answer = await api.post("/v1/suppressions", json={"address": "a@b.example", "expires": day})
    assert answer.status_code in {201, 400}


@pytest.mark.parametrize(
    "path", ["/v1/lanes?site=a%00b", "/v1/messages?tag=%00", "/v1/suppressions/a%00@b.example"]
)
async def test_nul_in_path_or_query_is_refused(api: httpx.AsyncClient, path: str):
    answer = await api.get(path)
    assert answer.status_code == 400, answer.text


async def test_query_parameter_that_is_not_known_is_refused(api: httpx.AsyncClient):
    answer = await api.get("/v1/messages", params={"recipent": "a@b.example"})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "recipent"
    assert answer.json()["error"]["code"] == "unknown_field"


async def test_body_with_another_content_encoding_than_gzip_is_refused_as_such(
    api: httpx.AsyncClient,
):
    headers = {"Content-Type": "application/json", "Content-Encoding": "br"}
    answer = await api.post("/v1/send", content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["error"]["message"]


async def test_json_without_its_header_is_told_what_it_looks_like(api: httpx.AsyncClient):
    answer = await api.post("/v1/send", content=b'{"recipient": "secret@a.example"}', headers=FORM)
    assert answer.status_code == 400
    assert "application/json" in answer.json()["error"]["message"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/credentials", "GET, HEAD, OPTIONS, POST"),
        ("/v1/credentials/abc", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/v1/send", "OPTIONS, POST"),
        ("/v1/suppressions/import", "OPTIONS, POST"),
        ("/v1/suppressions/export", "GET, HEAD, OPTIONS"),
        ("/dashboard/logins", "GET, HEAD, OPTIONS, POST"),
    ],
)
async def test_allow_names_all_methods_of_a_path(api: httpx.AsyncClient, path: str, methods: str):
    refused = await api.put(path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, methods)
    asked = await api.options(path)
    assert (asked.status_code, asked.headers["Allow"], asked.content) == (204, methods, b"")
    assert (await api.options("/nothing")).status_code == 404


@pytest.mark.parametrize("path", ["/v1/credentials", "/v1/nothing", "/docs", "/livez"])
async def test_head_is_a_get_without_the_body(api: httpx.AsyncClient, path: str):
    head, get = await api.head(path), await api.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
