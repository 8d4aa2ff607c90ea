"""Handlers called as the functions they are, with the objects that they name and no HTTP."""

import asyncio
import re
import time
from typing import Any

import pytest
from starlette.requests import Request

from postroad_common.secrets import verify_password
from postroad_common.store.tokens import Token
from postroad_common.tokenbucket import TokenBuckets
from postroad_common.tokens import Keyring
from postroad_ingress_http.access.scopes import EVERYTHING
from postroad_ingress_http.api import domains, send, suppressions, tokens
from postroad_ingress_http.api.domains import DomainFields
from postroad_ingress_http.api.suppressions import SuppressionFields
from postroad_ingress_http.api.tokens import TokenFields
from postroad_ingress_http.dashboard import logins as login_pages
from postroad_ingress_http.dashboard import secret
from postroad_ingress_http.dashboard.clients import SmtpPlace
from postroad_ingress_http.dashboard.frame import Frame
from postroad_ingress_http.dashboard.notes import SealedNotes
from postroad_ingress_http.dashboard.passwords import PasswordCheck
from postroad_ingress_http.dashboard.sessions import DashboardSession
from postroad_ingress_http.dashboard.visitor import Pages
from postroad_ingress_http.http.errors import ApiError
from postroad_ingress_http.sending.request import read_send

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = Token("id", "handlers", "admin", (EVERYTHING,), 0.0)
SENDER = Token("id", "handlers", "sender", ("send", "tokens"), 0.0)
SESSION = DashboardSession(
    "id", "ann@example.com", "handlers", "handlers", "owner", (EVERYTHING,), csrf="csrf"
)


def request(path: str = "/", *, secure: bool = False, cookie: str = "") -> Request:
    scheme = "https" if secure else "http"
    return Request(
        {
            "type": "http",
            "method": "POST",
            "scheme": scheme,
            "path": path,
            "server": ("postroad.test", 80),
            "query_string": b"",
            "headers": [(b"cookie", cookie.encode())] if cookie else [],
            "client": ("192.0.2.1", 1),
            "state": {"session": SESSION},
        }
    )


async def test_token_hands_out_no_scope_that_it_lacks(site: Any):
    store = site.database.tokens
    around = (store, site.dependencies.account_administration, site.dependencies.clock)
    with pytest.raises(ApiError) as caught:
        await tokens.create(SENDER, TokenFields(scopes=["domains"]), *around)
    assert (caught.value.status, caught.value.code) == (403, "insufficient_scope")
    made = await tokens.create(SENDER, TokenFields(name="x", scopes=["send"]), *around)
    listed = await tokens.listing(ADMIN, store)
    assert [(item.id, item.name) for item in listed.items] == [(made.id, "x")]
    await tokens.delete(made.id, ADMIN, store, site.dependencies.authenticator)
    assert (await tokens.listing(ADMIN, store)).items == []


async def test_domain_is_answered_with_the_records_to_publish(site: Any):
    known = site.dependencies.domains
    accounts = site.dependencies.account_administration
    found = await domains.add(ADMIN, DomainFields(domain="Handlers.example"), known, accounts)
    assert found.domain == "handlers.example"
    assert {record.status for record in found.records} == {None}
    with pytest.raises(ApiError) as caught:
        await domains.add(ADMIN, DomainFields(domain="handlers.example"), known, accounts)
    assert caught.value.status == 409


async def test_suppression_must_not_have_ended_by_the_clock_it_is_given(site: Any):
    store = site.database.suppressions
    fields = SuppressionFields(address="A@B.example", expires="2026-01-01")
    with pytest.raises(ApiError) as caught:
        await suppressions.add(ADMIN, fields, store, lambda: 1.8e9)
    assert caught.value.field == "expires"
    made = await suppressions.add(ADMIN, fields, store, lambda: 1.7e9)
    assert (made.address, made.created) == ("a@b.example", 1.7e9)
    assert await suppressions.one("a@b.example", ADMIN, store) == made


async def test_mail_carries_the_token_and_the_client_it_came_from(site: Any):
    await site.empty()
    mail = read_send({"recipient": "x@a.example", "mime": "From: a@a.example\r\n\r\nbody\r\n"})
    acceptance = site.dependencies.acceptance
    answer = await send.send(request(secure=True), ADMIN, mail, acceptance)
    assert answer.status_code == 200
    submission, _ = await site.last()
    assert (submission.account, submission.credential) == ("handlers", "id")
    assert (submission.client.ip, submission.client.protocol) == ("192.0.2.1", "HTTPS")


async def test_page_of_a_new_login_shows_its_password_once(site: Any):
    store = site.database.credentials
    pages = Pages(
        Frame(SealedNotes(Keyring(["secret"]), secure=False), time.time),
        request("/dashboard/logins"),
    )
    accounts = site.dependencies.account_administration
    answer = await login_pages.create(SESSION, {"name": "printer"}, pages, store, accounts)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    (login,) = await store.list("handlers")
    assert login.name == "printer"
    visit = request("/dashboard/secret", cookie=cookie)
    page = await secret.once(visit, SESSION, Pages(pages.frame, visit))
    shown = re.findall(r'data-copy="([^"]+)"', bytes(page.body).decode())
    assert shown[0] == login.username
    assert verify_password(login.password_hash, shown[1])
    place = SmtpPlace("mail.example.com", 587, 465)
    found = site.database.messages
    again = await login_pages.one(login.username, SESSION, pages, store, place, found)
    assert shown[1] not in bytes(again.body).decode()


async def test_passwords_guessed_at_once_do_not_slip_through_the_bound(site: Any):
    passwords = PasswordCheck(site.database.users, TokenBuckets(3, 0.001))
    guesses = (passwords.find(site.email, f"guess {n}", "192.0.2.9") for n in range(12))
    found = await asyncio.gather(*guesses, return_exceptions=True)
    refused = [error for error in found if isinstance(error, ApiError)]
    assert {error.status for error in refused} == {429}
    assert len(found) - len(refused) <= 4  # two are checked at a time
    with pytest.raises(ApiError):
        await passwords.find(site.email, site.password, "192.0.2.10")  # the name has its own bound
