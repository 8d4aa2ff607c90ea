"""Users of the dashboard: invited, changed, removed, and let in again when they lost a password.

Nobody sets the password of another: an invitation and a reset are links that work once.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from postroad_common.mail.address import AddressError, parse_mailbox
from postroad_common.secrets import hash_password
from postroad_common.store.invitations import Invitation, Invitations, Kind
from postroad_common.store.sessions import SessionRecords
from postroad_common.store.users import User, Users
from postroad_ingress_http.access.scopes import EVERYTHING, OPERATOR, check_role
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found

INVITATION_SECONDS = 7 * 86_400.0
RESET_SECONDS = 3600.0
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
_PAGES = {"invitation": "/dashboard/join", "reset": "/dashboard/reset"}

Notify = Callable[[str, str, str], Awaitable[None]]
"""Mails a notice: address, subject, text."""


@dataclass(frozen=True, slots=True)
class OneTimeLink:
    """A link that works once; `path` has its secret, and `url` is whole where ours is known."""

    invitation: Invitation
    path: str
    url: str | None = None


class UserAdministration:
    """Users, their invitations, and links for new passwords. `base_url` is the dashboard's."""

    def __init__(
        self,
        users: Users,
        invitations: Invitations,
        sessions: SessionRecords,
        *,
        clock: Callable[[], float],
        base_url: str | None = None,
        notify: Notify | None = None,
    ) -> None:
        self._users = users
        self._invitations = invitations
        self._sessions = sessions
        self._clock = clock
        self._base_url = base_url
        self._notify = notify

    async def invite(
        self, account: str, email: str, role: str, scopes: Iterable[str]
    ) -> OneTimeLink:
        """Invite an address to the account; `scopes` are those of whoever invites.

        Raises:
            ApiError: 400, 403; 409, the address belongs to a user.
        """
        check_role(scopes, role)
        address = read_email(email)
        if await self._users.find(address) is not None:
            raise ApiError(409, "This address is a user's already.", field="email")
        link = await self._make("invitation", address, account, role, INVITATION_SECONDS)
        await self._mail(
            link,
            "You are invited to Postroad",
            f"You are invited to the account {account} as {role}. Set a password within a week:",
        )
        return link

    async def reset(self, account: str, email: str, scopes: Sequence[str]) -> OneTimeLink:
        """Return a link that sets a new password for a user of the account.

        Raises:
            ApiError: 404; 403, the user may do more than those whose `scopes` these are.
        """
        user = await self.find(account, email)
        check_role(scopes, user.role)
        if user.operator and OPERATOR not in scopes:
            raise ApiError(403, "Only an operator makes a link for an operator.")
        return await self._make("reset", user.email, user.account, user.role, RESET_SECONDS)

    async def forgot(self, email: str) -> None:
        """Mail a user a link that sets a new password; who is none, is told nothing."""
        user = await self._users.find(email) if email else None
        if user is not None and self._notify is not None and self._base_url:
            link = await self._make("reset", user.email, user.account, user.role, RESET_SECONDS)
            await self._mail(
                link,
                "A new password for Postroad",
                "Somebody, you hopefully, asked for a new password. Set it within an hour:",
            )

    async def _make(
        self, kind: Kind, email: str, account: str, role: str, life: float
    ) -> OneTimeLink:
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        made = Invitation(_hash(secret), kind, email, account, role, now, now + life)
        await self._invitations.create(made)
        path = f"{_PAGES[kind]}?key={secret}"
        return OneTimeLink(made, path, f"{self._base_url}{path}" if self._base_url else None)

    async def _mail(self, link: OneTimeLink, subject: str, text: str) -> None:
        if self._notify is not None and link.url:
            await self._notify(link.invitation.email, subject, f"{text}\n\n{link.url}\n")

    async def open_link(self, secret: str, kind: Kind) -> Invitation:
        """Return what the link is for, without using it up.

        Raises:
            ApiError: 404, it does not work, or no longer.
        """
        found = await self._invitations.find(_hash(secret), self._clock())
        if found is None or found.kind != kind:
            raise ApiError(404, "This link does not work, or no longer. Ask for a new one.")
        return found

    async def accept(self, secret: str, kind: Kind, password: str) -> str:
        """Use the link up: make the user, or give it the password; return the address.

        Raises:
            ApiError: 400, a bad password; 404, the link does not work; 409, the user is there.
        """
        check_password(password)
        await self.open_link(secret, kind)
        used = await self._invitations.use(_hash(secret), self._clock())
        if used is None:
            raise ApiError(404, "This link does not work, or no longer. Ask for a new one.")
        hashed = await asyncio.to_thread(hash_password, password)
        if kind == "reset":
            await self._users.set_password(used.email, hashed)
            await self._sessions.end_all(used.email)
            await self._invitations.withdraw_resets(used.email)
        elif not await self._users.create(used.email, used.account, hashed, role=used.role):
            raise ApiError(409, "This address is a user's already; log in.")
        return used.email

    async def welcome(self, email: str, role: str = "", account: str = "") -> User | None:
        """Make the user who is invited and has proved the address elsewhere; None: who is not.

        A `role` that the identity provider gives comes before that of the invitation, and makes
        who is not invited a user of `account`. They have no password until they ask for a link to
        set one.
        """
        used = await self._invitations.use_for(email, self._clock())
        if used is not None:
            account, role = used.account, role or used.role
        if not account or not role:
            return None
        unknown = await asyncio.to_thread(hash_password, secrets.token_urlsafe(32))
        await self._users.create(email, account, unknown, role=role)
        return await self._users.find(email)

    async def take_role(self, user: User, role: str) -> User:
        """Give the user the role that the identity provider says they have.

        The only owner of an account stays its owner, and an operator what they are.
        """
        if user.operator:
            return user
        try:
            return await self.set_role(user.account, user.email, role, (EVERYTHING,))
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            return user

    async def set_password(self, user: User, password: str, *, session: str) -> None:
        """Give the user another password; end their sessions but the one named.

        Raises:
            ApiError: 400, a bad password.
        """
        check_password(password)
        hashed = await asyncio.to_thread(hash_password, password)
        await self._users.set_password(user.email, hashed)
        await self._sessions.end_all(user.email, but=session)

    async def find(self, account: str, email: str) -> User:
        """Return a user of the account.

        Raises:
            ApiError: 404.
        """
        user = await self._users.find(email)
        if user is None or user.account != account:
            raise not_found("user")
        return user

    async def all(self, account: str) -> list[User]:
        """Return the users of the account."""
        return await self._users.list(account)

    async def invited(self, account: str) -> list[Invitation]:
        """Return the open invitations to the account."""
        now = self._clock()
        found = await self._invitations.list(account)
        return [invitation for invitation in found if invitation.ends > now]

    async def set_role(self, account: str, email: str, role: str, scopes: Iterable[str]) -> User:
        """Give the user another role; `scopes` are those of whoever does so.

        Only an operator changes an operator.

        Raises:
            ApiError: 400, 403, 404; 409, the account would have no owner.
        """
        held = tuple(scopes)
        user = await self.find(account, email)
        check_role(held, user.role)
        check_role(held, role)
        if user.operator and OPERATOR not in held:
            raise ApiError(403, "Only an operator changes the role of an operator.")
        if role != "owner":
            await self._keep_an_owner(user)
        await self._users.set_role(account, user.email, role)
        return await self.find(account, email)

    async def remove(self, account: str, email: str, scopes: Iterable[str]) -> None:
        """Remove a user, or withdraw an invitation.

        Raises:
            ApiError: 403, 404; 409, the account would have no owner.
        """
        if await self._invitations.withdraw(account, email):
            return
        user = await self.find(account, email)
        check_role(scopes, user.role)
        if user.operator:
            raise ApiError(409, "An operator cannot be removed.")
        await self._keep_an_owner(user)
        await self._users.delete(account, user.email)
        await self._sessions.end_all(user.email)
        await self._invitations.withdraw_resets(user.email)

    async def _keep_an_owner(self, user: User) -> None:
        if user.role != "owner":
            return
        others = await self._users.list(user.account)
        if not any(other.role == "owner" and other.email != user.email for other in others):
            raise ApiError(409, "This is the only owner of the account; make another one first.")


def check_password(password: str) -> None:
    """Check the length of a new password.

    Raises:
        ApiError: 400.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise bad_field("password", f"Use at least {SHORTEST_PASSWORD} characters.")


def read_email(text: str) -> str:
    """Return the address in lower case.

    Raises:
        ApiError: 400.
    """
    try:
        return parse_mailbox(text.strip(), smtputf8=True).text.lower()
    except AddressError as error:
        raise bad_field("email", f"Not an e-mail address: {error}.") from None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
