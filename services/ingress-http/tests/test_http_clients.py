"""The settings of mail programs on the page of a login."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from postroad_ingress_http.dashboard.clients import SmtpPlace, settings_for


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("", SmtpPlace("mail.example.com", 587, 465)),
        ("smtp.example.net", SmtpPlace("smtp.example.net", 587, 465)),
        ("localhost:2525:2465", SmtpPlace("localhost", 2525, 2465)),
    ],
)
def test_address_is_read(address: str, place: SmtpPlace):
    assert SmtpPlace.of(address, "mail.example.com") == place


def test_every_program_is_told_where_and_who():
    for client in settings_for(SmtpPlace("smtp.example.net", 2525, 2465), "login42"):
        assert "smtp.example.net" in client.text, client
        assert "2525" in client.text or "2465" in client.text, client
        assert "login42" in client.text, client
        assert client.text.count("YOUR-PASSWORD") == 1 or client.name == "Thunderbird", client
        assert "{{" not in client.text, client
        assert "/ca.pem" not in client.text, client
        assert "{" not in client.text or client.name in {"Rails", "nodemailer"}, client


def test_every_program_is_told_a_ca_that_no_public_list_has():
    public = SmtpPlace.of("smtp.example.net", "", "")
    own = SmtpPlace.of("smtp.example.net", "", "/etc/postroad/ca.pem")
    for before, after in zip(settings_for(public, "me"), settings_for(own, "me"), strict=True):
        assert "/etc/postroad/ca.pem" not in before.text
        assert "/etc/postroad/ca.pem" in after.text, after


@pytest.mark.asyncio(loop_scope="module")
async def test_ca_is_downloaded_from_the_page_that_names_it(browser: httpx.AsyncClient, site: Any):
    path = "/dashboard/smtp-ca.pem"
    assert f'href="{path}"' in (await browser.get("/dashboard/start")).text
    answer = await browser.get(path)
    ca = await asyncio.to_thread(Path(site.context.settings.smtp_ca_file).read_text)
    assert answer.text == ca
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.asyncio(loop_scope="module")
async def test_page_of_a_login_shows_them(api: httpx.AsyncClient, site: Any):
    made = (await api.post("/v1/credentials", json={"name": "clients"})).json()
    async with site.client() as browser:
        form = await browser.get("/dashboard/login")
        fields = {"csrf": site.csrf_of(form.text), "email": site.email, "password": site.password}
        await browser.post("/dashboard/login", data=fields)
        page = (await browser.get(f"/dashboard/logins/{made['username']}")).text
    assert "smtp_sasl_password_maps" in page
    assert f"static:{made['username']}:YOUR-PASSWORD" in page
    assert made["password"] not in page
