"""Templates in the dashboard: written, previewed, compared, sent as a test, deleted."""

import re
from html import unescape
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
_PAGES = "/dashboard/templates"


async def test_a_template_is_written_in_versions_compared_sent_and_deleted(
    browser: httpx.AsyncClient, site: Any
):
    new = await browser.get(f"{_PAGES}/new")
    csrf = {"csrf": site.csrf_of(new.text)}
    first = {
        **csrf, "name": "pages", "from": "Shop <news@shop.example>", "subject": "Hi {{ name }}",
        "html": "<p>one</p>\r\n<p>{{ name }}</p>", "data": "",
    }  # fmt: skip
    made = await browser.post(_PAGES, data=first)
    assert made.status_code == 303, made.text
    page = made.headers["location"].partition("?")[0]
    assert "version 1, in use" in (await browser.get(page)).text
    assert ">pages</a>" in (await browser.get(_PAGES)).text

    second = first | {"base": "1", "html": "<p>two</p>\r\n<p>{{ name }}</p>"}
    assert (await browser.post(page, data=second)).status_code == 303
    stored = await site.dependencies.templates.read("main", "pages")
    assert stored.version.number == 2
    assert stored.content["html"] == "<p>two</p>\n<p>{{ name }}</p>"
    late = await browser.post(page, data=second)
    assert late.status_code == 409
    assert "Version 2 was saved meanwhile" in late.text
    wrong = await browser.post(page, data=second | {"base": "2", "html": "a\r\n{{ b"})
    assert wrong.status_code == 422
    assert "html, line 2" in wrong.text

    shown = await browser.get(f"{page}/changes?version=2")
    added, removed = (
        [
            unescape(line)
            for line in re.findall(rf'class="{kind}".*?</span>([^<]*)</code>', shown.text)
        ]
        for kind in ("added", "removed")
    )
    assert (removed, added) == (["<p>one</p>"], ["<p>two</p>"])
    assert "first version" in (await browser.get(f"{page}/changes?version=1")).text
    old = await browser.get(f"{page}?version=1")
    assert "This is an old version" in old.text
    assert "&lt;p&gt;one&lt;/p&gt;" in old.text
    assert (await browser.get(f"{page}?version=9")).status_code == 404
    assert (await browser.get(f"{page}?version=x")).status_code == 400

    await site.empty()
    test = {**csrf, "recipient": "ann@reader.example", "data": '{"name": "Ann"}'}
    sent = await browser.post(f"{page}/send", data=test)
    assert sent.status_code == 303, sent.text
    one, raw = await site.last()
    assert sent.headers["location"].startswith(f"/dashboard/messages/{one.recipients[0].id}")
    assert b"Subject: Hi Ann" in raw
    assert one.tags == ("test-mail",)
    holed = await browser.post(f"{page}/send", data=test | {"data": "{}"})
    assert holed.status_code == 422
    assert "subject, line 1" in holed.text
    broken = await browser.post(f"{page}/send", data=test | {"data": '{"name":'})
    assert broken.status_code == 400
    assert "line 1, column 9" in broken.text

    assert (await browser.post(f"{page}/delete", data=csrf)).status_code == 303
    assert (await browser.get(page)).status_code == 404


async def test_the_preview_is_filled_inert_and_points_at_errors(
    browser: httpx.AsyncClient, site: Any
):
    csrf = {"csrf": site.csrf_of((await browser.get(f"{_PAGES}/new")).text)}
    form = {
        **csrf, "subject": "Hi {{ name }}", "html": "<b>{{ name }}</b><script>x</script>",
        "data": '{"name": "<i>Ann"}',
    }  # fmt: skip
    shown = await browser.post(f"{_PAGES}/preview", data=form)
    assert shown.status_code == 200
    policy = shown.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert "x-frame-options" not in shown.headers
    assert "Hi &lt;i&gt;Ann" in shown.text
    framed = re.search(r'<iframe sandbox="" title="HTML" srcdoc="([^"]*)">', shown.text)
    assert framed
    inner = unescape(framed[1])
    assert "<b>&lt;i&gt;Ann</b>" in inner
    assert "<html inert>" in inner
    assert "<script>" not in shown.text

    holed = await browser.post(
        f"{_PAGES}/preview", data=form | {"html": "<p>\r\nDear {{ nmae }}\r\n</p>"}
    )
    assert "html, line 2, column" in holed.text
    assert '<li class="here">2  Dear {{ nmae }}</li>' in holed.text
    for wrong, told in (({"data": "[]"}, "Give an object"), ({"html": ""}, "Give HTML or text")):
        answer = await browser.post(f"{_PAGES}/preview", data=form | wrong)
        assert answer.status_code == 200
        assert told in answer.text
    whole = {**csrf, "mime": "Subject: Hi {{ name }}\n\nDear {{ name }}", "data": '{"name": "Bo"}'}
    assert "Dear Bo" in (await browser.post(f"{_PAGES}/preview", data=whole)).text
