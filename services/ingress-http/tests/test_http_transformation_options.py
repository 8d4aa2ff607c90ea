"""What a request may ask of the transformation, beside the five features."""

from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = {"recipient": "b@b.example", "from": "a@a.example", "html": "<p>hello</p>"}


async def test_text_part_hosted_images_and_one_click_unsubscription_can_be_asked_for(
    api: httpx.AsyncClient, site: Any
):
    options = {"images": "hosted", "textfromhtml": True, "listunsubscribe": True}
    assert (await api.post("/v1/send", json={**HTML, **options})).status_code == 200
    submission, _ = await site.last()
    assert (submission.images_hosted, submission.text_from_html) == (True, True)
    assert submission.list_unsubscribe is True


async def test_without_a_word_nothing_of_it_happens(api: httpx.AsyncClient, site: Any):
    assert (await api.post("/v1/send", json=HTML)).status_code == 200
    submission, _ = await site.last()
    assert (submission.images_hosted, submission.text_from_html) == (False, False)
    assert submission.list_unsubscribe is None


async def test_header_of_the_mail_wins_over_the_field(api: httpx.AsyncClient, site: Any):
    mime = "From: a@a.example\r\nx-smtpeter-textfromhtml: false\r\n\r\nhello\r\n"
    fields = {"recipient": "b@b.example", "mime": mime, "textfromhtml": True}
    assert (await api.post("/v1/send", json=fields)).status_code == 200
    submission, body = await site.last()
    assert not submission.text_from_html
    assert b"x-smtpeter" not in body


async def test_content_is_kept_unless_the_field_or_the_header_says_otherwise(
    api: httpx.AsyncClient, site: Any
):
    for fields, header, kept in (
        ({}, "", True),
        ({"keep_content": False}, "", False),
        ({"keepcontent": "false"}, "", False),
        ({"keep_content": False}, "x-postroad-keepcontent: yes\r\n", True),
        ({}, "x-smtpeter-keep-content: no\r\n", False),
    ):
        mime = f"From: a@a.example\r\n{header}\r\nhello\r\n"
        mail = {"recipient": "b@b.example", "mime": mime, **fields}
        assert (await api.post("/v1/send", json=mail)).status_code == 200
        submission, _ = await site.last()
        assert submission.keep_content is kept, (fields, header)


async def test_tracking_host_of_a_domain_is_set_shown_and_taken_back(api: httpx.AsyncClient):
    path = "/v1/domains/track.example"
    assert (await api.post("/v1/domains", json={"domain": "track.example"})).status_code == 201
    changed = await api.patch(path, json={"tracking_host": "Links.Track.Example."})
    assert changed.json()["tracking_host"] == "links.track.example"
    assert (await api.get(path)).json()["tracking_host"] == "links.track.example"
    assert (await api.patch(path, json={"tracking_host": None})).json()["tracking_host"] is None


@pytest.mark.parametrize("host", ["elsewhere.example", "track2.example", "a b", "x.faketrack2.exa"])
async def test_tracking_host_outside_of_the_domain_is_refused(api: httpx.AsyncClient, host: str):
    await api.post("/v1/domains", json={"domain": "track2.example"})
    answer = await api.patch("/v1/domains/track2.example", json={"tracking_host": host})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "tracking_host"
