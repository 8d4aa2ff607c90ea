"""What an account has to do before its applications send: each step is done when it is so."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends

from postroad_common.store.credentials import Credential, Credentials
from postroad_common.store.messages import Criteria, Messages
from postroad_common.store.tokens import Token, Tokens
from postroad_ingress_http.dashboard.visitor import SignedIn
from postroad_ingress_http.dependencies import (
    AccountStore,
    CredentialStore,
    DomainsOf,
    MessageStore,
    TokenStore,
)
from postroad_ingress_http.domains.senderdomains import SenderDomains

TEST_TAG = "test-mail"
_LOGINS = 5  # of which it is looked whether they were used
_LATEST = 20


@dataclass(frozen=True, slots=True)
class FirstStep:
    """A step: `title` says what to do, `done` whether it is."""

    name: str
    title: str
    done: bool = False


STEPS = (
    FirstStep("domain", "Name the domain you send from"),
    FirstStep("dns", "Publish its DNS records"),
    FirstStep("login", "Make an SMTP login or a REST token"),
    FirstStep("application", "Send from your application"),
    FirstStep("mail", "See a mail arrive"),
)


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """Looks how far accounts are."""

    domains: SenderDomains
    credentials: Credentials
    tokens: Tokens
    messages: Messages

    async def of(self, account: str) -> list[FirstStep]:
        """Return the steps of the account, ticked where they are done."""
        domains = await self.domains.all(account)
        logins = await self.credentials.list(account, limit=_LOGINS)
        tokens = await self.tokens.list(account)
        done = {
            "domain": bool(domains),
            "dns": any(domain.verified for domain in domains),
            "login": bool(logins or tokens),
            "application": await self._sends(account, logins, tokens),
            "mail": await self._arrives(account),
        }
        return [replace(step, done=done[step.name]) for step in STEPS]

    async def _sends(
        self, account: str, logins: Sequence[Credential], tokens: Sequence[Token]
    ) -> bool:
        """Whether an application has handed in a mail by a login, or used a token to send."""
        names = [login.username for login in logins]
        names += [token.id for token in tokens if token.last_used is not None][:_LOGINS]
        for name in names:
            if await self.messages.search(account, Criteria(login=name), limit=1):
                return True
        return False

    async def _arrives(self, account: str) -> bool:
        """Whether a mail was delivered: one of the latest, or a test mail."""
        test = Criteria(tag=TEST_TAG)
        latest = await self.messages.search(account, limit=_LATEST)
        tests = await self.messages.search(account, test, limit=_LATEST)
        return any(record.state == "delivered" for record in (*latest, *tests))


async def _first_steps(
    domains: DomainsOf, credentials: CredentialStore, tokens: TokenStore, messages: MessageStore
) -> FirstSteps:
    return FirstSteps(domains, credentials, tokens, messages)


FirstStepsOf = Annotated[FirstSteps, Depends(_first_steps)]


async def _left(
    session: SignedIn, accounts: AccountStore, steps: FirstStepsOf
) -> Sequence[FirstStep]:
    account = await accounts.find(session.account)
    if account is None or not account.first_steps:
        return ()
    found = await steps.of(session.account)
    if all(step.done for step in found):
        await accounts.update(session.account, {"first_steps": False})  # not asked for again
        return ()
    return found


StepsLeft = Annotated[Sequence[FirstStep], Depends(_left)]
"""The steps of the account that is looked at; none where all are done, or nobody wants them."""
