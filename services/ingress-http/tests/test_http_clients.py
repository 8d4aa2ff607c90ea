"""The settings of mail programs on the page of a login."""

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
