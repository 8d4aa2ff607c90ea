"""What all pages share: times in the visitor's zone, words after acts, forms that were refused."""

import ast
import re
import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from postroad_common.mail.identifiers import new_id
from postroad_common.tokens import Keyring
from postroad_ingress_http import dashboard
from postroad_ingress_http.dashboard import times
from postroad_ingress_http.dashboard.auditing import Difference, deed, describe, differences
from postroad_ingress_http.dashboard.notes import Note, SealedNotes
from postroad_ingress_http.dashboard.refused import Refused, filled
from postroad_ingress_http.dashboard.texts import program
from postroad_ingress_http.http.errors import ApiError, bad_field

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOON = 1_795_953_600.0  # 2026-11-29 12:00:00 UTC
AMSTERDAM = ZoneInfo("Europe/Amsterdam")
PAGE = """<!doctype html><p>a &amp; b &#33;</p>
<form method="post" action="/x"><input type="hidden" name="kind" value="other"></form>
<details class="confirm"><summary>More</summary>
<form method="post" action="/x"><input type="hidden" name="csrf" value="c">
<input type="hidden" name="kind" value="this">
<label>Name <input name="name" value="old"></label><input type="password" name="password">
<input type="checkbox" name="events[]" value="a" checked>
<input type="checkbox" name="events[]" value="b">
<select name="role"><option selected>reader</option><option>a &amp; b</option></select>
<textarea name="text">old</textarea></form></details>"""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "now"), (-4, "in 4 s"), (-250, "in 4 min"), (59, "59 s ago"), (7500, "2 h 5 min ago"),
     (7200, "2 h ago"), (3 * 86_400 + 3700, "3 d 1 h ago"), (3700, "1 h 1 min ago"),
     (-179.9 * 86_400, "in 180 d")],
)  # fmt: skip
async def test_distance_of_a_time_reads_as_people_say_it(seconds: float, text: str):
    assert times.from_now(NOON - seconds, NOON) == text


@pytest.mark.parametrize(
    ("cookie", "text"),
    [("Europe/Amsterdam", "29 Nov 2026 13:00:00 CET"), ("Europe%2FAmsterdam", "13:00:00 CET"),
     ("", "12:00:00 UTC"), ("../../etc/passwd", "12:00:00 UTC"), ("No/Where", "12:00:00 UTC"),
     ("Europe", "12:00:00 UTC"), ("x" * 500, "12:00:00 UTC")],
)  # fmt: skip
async def test_times_are_in_the_zone_that_the_browser_tells(cookie: str, text: str):
    zone = times.zone_of({times.ZONE_COOKIE: cookie})
    assert times.when(NOON, zone).endswith(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2026-11-29T13:00", NOON), ("2026-11-29 13:00:00", NOON), ("2026-11-29T12:00:00Z", NOON),
     ("2026-11-29", NOON - 13 * 3600), (f"{NOON:.0f}", NOON), ("", None)],
)  # fmt: skip
async def test_time_in_a_field_is_the_visitors(text: str, moment: float | None):
    assert times.read_local("start", text, AMSTERDAM) == moment
    assert times.for_field(NOON, AMSTERDAM) == "2026-11-29T13:00"


@pytest.mark.parametrize("text", ["tomorrow-ish", "2026-13-01", "-", "9999-12-31T23:59:59-14:00x"])
async def test_what_is_no_time_is_told_at_the_field(text: str):
    with pytest.raises(ApiError) as caught:
        times.read_local("start", text, AMSTERDAM)
    assert (caught.value.status, caught.value.field) == (400, "start")


async def test_note_with_secrets_is_opened_by_its_installation_only():
    notes, answer = SealedNotes(Keyring(["a secret"]), secure=True), Response()
    note = Note("New login", "/dashboard/logins", {"Password": "hush"})
    notes.leave(answer, note)
    cookie = answer.headers["set-cookie"]
    assert "hush" not in cookie
    assert "HttpOnly" in cookie
    assert "Secure" in cookie

    def opened(given: str, by: SealedNotes) -> Note | None:
        return by.open(Request({"type": "http", "headers": [(b"cookie", given.encode())]}))

    value = cookie.partition(";")[0]
    assert opened(value, notes) == note
    assert opened(value[:-3] + "AAA", notes) is None
    assert opened("", notes) is None
    assert opened(value, SealedNotes(Keyring(["another"]), secure=True)) is None


def _sent(error: ApiError, **fields: object) -> str:
    told = {"kind": "this", "name": '<b>"x"', "events": ["b"], "role": "a & b", "text": "<new>"}
    page = filled(PAGE, Refused("/x", "/dashboard", told | fields, error))
    assert page is not None
    return page


async def test_refused_form_keeps_what_was_typed_and_tells_at_the_field():
    page = _sent(bad_field("name", "Not <this>."), password="hush")
    assert '<input name="name" value="&lt;b&gt;&quot;x&quot;" aria-invalid="true"' in page
    assert 'role="alert">Not &lt;this&gt;.</span></label>' in page
    assert '<input type="checkbox" name="events[]" value="a">' in page
    assert 'value="b" checked>' in page
    assert "<option>reader</option><option selected>a &amp; b</option>" in page
    assert "&lt;new&gt;</textarea>" in page
    assert "hush" not in page
    assert '<details class="confirm" open>' in page
    assert page.startswith("<!doctype html><p>a &amp; b &#33;</p>")
    assert page.count("Not &lt;this&gt;.") == 1


async def test_refusal_without_a_field_is_told_above_its_form():
    page = _sent(ApiError(409, "There are too many."))
    first, _, second = page.partition('value="other"')
    assert "too many" not in first
    assert '<p class="notice bad" role="alert">There are too many.</p>' in second


async def test_page_without_the_form_is_not_filled():
    assert filled(PAGE, Refused("/y", "/dashboard", {}, ApiError(400, "x"))) is None
    assert filled(PAGE, Refused("/x", "/dashboard", {"kind": "z"}, ApiError(400, "x"))) is None


REFUSED = (
    ("/webhooks", "/webhooks", {"url": "ftp://typed.example/", "events[]": "bounced"}, "url"),
    ("/domains", "/domains", {"name": "not a domain!"}, "name"),
    ("/account", "/account", {"name": " "}, "name"),
    ("/start", "/start/mail", {"from": "a@b.example", "recipient": "nobody"}, "recipient"),
    ("/users", "/users", {"email": "nobody", "role": "reader"}, "email"),
    ("/tokens", "/tokens", {"name": "typed name"}, ""),
    ("/accounts", "/accounts", {"id": "UPPER CASE", "owner": "a@b.example"}, ""),
)


@pytest.mark.parametrize(("page", "action", "typed", "field"), REFUSED)
async def test_refused_form_is_shown_on_its_page(
    browser: httpx.AsyncClient, page: str, action: str, typed: dict[str, str], field: str
):
    page, action = f"/dashboard{page}", f"/dashboard{action}"
    before = (await browser.get(page)).text
    csrf = re.search(r'name="csrf" value="(\w+)"', before)
    assert csrf
    assert f'name="page" value="{page}"' in before
    answer = await browser.post(action, data={"csrf": csrf[1], "page": page, **typed})
    assert answer.status_code == 400, answer.text
    heading = re.search(r"<h1>[^<]+</h1>", before)
    assert heading
    assert heading[0] in answer.text
    assert f'value="{next(iter(typed.values()))}"' in answer.text
    assert 'role="alert"' in answer.text
    if field:
        assert re.search(rf'<input[^>]* name="{field}"[^>]* aria-invalid="true"', answer.text)


async def test_form_that_may_not_do_this_is_shown_again_too(browser: httpx.AsyncClient, site: Any):
    csrf = site.csrf_of((await browser.get("/dashboard/start")).text)
    await site.database.accounts.update("main", {"verified_senders_only": True})
    typed = {"from": "me@unverified.example", "recipient": "typed@reader.example"}
    data = {"csrf": csrf, "page": "/dashboard/start", **typed}
    answer = await browser.post("/dashboard/start/mail", data=data)
    await site.database.accounts.update("main", {"verified_senders_only": False})
    assert answer.status_code == 403
    assert re.search(r'<input name="from"[^>]* aria-invalid="true"', answer.text)
    assert 'value="typed@reader.example"' in answer.text
    assert "step 2 comes first" in answer.text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("bounces?start=soon&recipient=kept%40b.example", "start"),
        ("bounces?recipient=kept", "recipient"),
        ("messages?start=soon&subject=kept", "start"),
        ("messages?id=kept", "id"),
        ("messages?recipient=a%00b&subject=kept", "recipient"),
        ("suppressions?address=%00&domain=kept", "address"),
        ("bounces?recipient=kept%40b.example&end=%00", "end"),
        ("lanes?site=kept%00", "site"),
    ],
)
async def test_search_that_is_wrong_says_so_at_its_field_and_keeps_the_rest(
    browser: httpx.AsyncClient, query: str, field: str
):
    answer = await browser.get(f"/dashboard/{query}")
    assert answer.status_code == 400
    assert answer.text.count('role="alert"') == 1
    assert re.search(rf'<input [^>]*name="{field}"[^>]* aria-invalid="true"', answer.text)
    assert 'value="kept' in answer.text


@pytest.mark.parametrize(
    ("path", "above"),
    [
        ("/domains/some.example/verify", "/domains/some.example"),
        ("/start/mail", "/start"),
        ("/profile/sessions/end", "/profile"),
        ("/users/a%40b.example/role", "/users"),
        ("/logout", ""),
    ],
)
async def test_address_of_a_form_leads_to_the_page_above(
    browser: httpx.AsyncClient, path: str, above: str
):
    answer = await browser.get(f"/dashboard{path}")
    assert (answer.status_code, answer.headers.get("location")) == (303, f"/dashboard{above}")


async def test_message_accepted_a_moment_ago_is_waited_for(browser: httpx.AsyncClient):
    for seconds, awaited in ((0, True), (3600, False)):
        answer = await browser.get(f"/dashboard/messages/{new_id(time.time() - seconds)}")
        assert answer.status_code == 404
        assert ('http-equiv="refresh"' in answer.text) == awaited


@pytest.mark.parametrize("page", ["https://evil.example/", "/v1/send", "//evil", "/dashboardx"])
async def test_refused_form_leads_to_our_pages_only(browser: httpx.AsyncClient, page: str):
    csrf = re.search(r'name="csrf" value="(\w+)"', (await browser.get("/dashboard/webhooks")).text)
    assert csrf
    data = {"csrf": csrf[1], "page": page, "url": "ftp://x"}
    answer = await browser.post("/dashboard/webhooks", data=data)
    assert answer.status_code == 400
    assert "That did not work" in answer.text


async def test_refused_form_of_a_page_that_is_gone_is_a_problem_page(browser: httpx.AsyncClient):
    csrf = re.search(r'name="csrf" value="(\w+)"', (await browser.get("/dashboard/webhooks")).text)
    assert csrf
    data = {"csrf": csrf[1], "page": "/dashboard/webhooks/gone", "url": "ftp://x"}
    answer = await browser.post("/dashboard/webhooks", data=data)
    assert answer.status_code == 400
    assert "That did not work" in answer.text


async def test_times_on_pages_are_local_with_utc_beside(browser: httpx.AsyncClient):
    browser.cookies.set(times.ZONE_COOKIE, "Asia/Tokyo", path="/dashboard")
    page = (await browser.get("/dashboard/users")).text
    found = re.search(r'<time datetime="([^"]+)Z" title="([^"]+) UTC">[^<]+ JST</time>', page)
    assert found
    assert found[1].replace("T", " ") == found[2]


async def test_every_act_that_redirects_has_a_word_for_the_next_page():
    silent = [
        f"{path.name}: {ast.unparse(call)}"
        for path in Path(dashboard.__file__).parent.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.AsyncFunctionDef)
        and any("router.post" in ast.unparse(each) for each in function.decorator_list)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) == "see_other"
        and len(call.args) + len(call.keywords) < 2
    ]
    assert not [call for call in silent if "imported" not in call], silent


async def test_values_of_the_audit_log_read_as_people_say_them():
    stored = {
        "account": "main",
        "name": "Shop",
        "created": NOON,
        "batch_size": 1,
        "disabled": False,
        "features": {"inlinecss": True, "clicktracking": False},
        "tracking": {"opens": False},
        "keys": [{"selector": "a", "seen": None, "created": NOON}, {"selector": "b"}],
        "public": "x" * 200,
        "networks": [],
        "until": None,
    }
    assert describe(stored, AMSTERDAM) == [
        ("name", "Shop"),
        ("created", "29 Nov 2026 13:00:00 CET"),
        ("batch size", "1"),
        ("disabled", "no"),
        ("features", "inlinecss"),
        ("tracking", "none"),
        ("keys", "selector a, created 29 Nov 2026 13:00:00 CET; selector b"),
        ("public", f"{'x' * 80}…"),
    ]
    assert describe(None, AMSTERDAM) == []
    news = {**stored, "name": "Web shop", "batch_size": None, "public": "x" * 300, "list": "news"}
    assert differences(stored, news, AMSTERDAM) == [
        Difference("name", "Shop", "Web shop"),
        Difference("batch size", "1", ""),
        Difference("public", f"{'x' * 80}…", f"{'x' * 80}…"),
        Difference("list", "", "news"),
    ]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("credentials.create", "SMTP login added"),
        ("message_directives.update", "Order for a message changed"),
        ("odd_things.set_right", "Odd things set right"),
    ],
)
async def test_actions_of_the_audit_log_read_as_people_say_them(action: str, words: str):
    assert deed(action) == words


async def test_browsers_have_names():
    safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Version/18.5 Safari/604.1"
    assert program(safari) == "Safari on iPhone"
    assert program("curl/8.1") == "curl"
    assert program("") == "unknown"
    assert program("<b>odd") == "<b>odd"
