"""Whether whoever ordered a job may still have it done: a job ends with the right to order it."""

from collections.abc import Callable
from dataclasses import dataclass

from postroad_common.store.jobs import BulkJob
from postroad_common.store.tokens import Tokens
from postroad_common.store.users import Users
from postroad_ingress_http.access.scopes import allows, scopes_of
from postroad_ingress_http.jobs.acts import ACTS

_NOT_ALLOWED = "Whoever ordered it may not do this any more."


@dataclass(frozen=True, slots=True)
class Mandates:
    """Looks up who ordered a job; `clock` returns Unix seconds."""

    tokens: Tokens
    users: Users
    clock: Callable[[], float]

    async def lapsed(self, job: BulkJob) -> str:
        """Return why a job may not go on, for people; nothing where it may."""
        return await (self._of_user(job) if job.actor.kind == "user" else self._of_token(job))

    async def _of_token(self, job: BulkJob) -> str:
        token = await self.tokens.find(job.actor.id)
        if token is None:
            return "The token that ordered it was revoked."
        if token.expires is not None and token.expires <= self.clock():
            return "The token that ordered it has expired."
        if token.account != job.account and not allows(token.scopes, "accounts"):
            return _NOT_ALLOWED
        return _missing(job, token.scopes)

    async def _of_user(self, job: BulkJob) -> str:
        user = await self.users.find(job.actor.id)
        if user is None or (user.account != job.account and not user.operator):
            return "The user who ordered it was removed."
        role = user.role if user.account == job.account else "owner"
        return _missing(job, scopes_of(role))


def _missing(job: BulkJob, scopes: tuple[str, ...]) -> str:
    needed = {"messages", ACTS[job.act].scope}
    return "" if all(allows(scopes, scope) for scope in needed) else _NOT_ALLOWED
