"""Orders of jobs: checked, counted before they are given, found again, and stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from postroad_common.mail.identifiers import TIME_CHARS, id_time, is_id
from postroad_common.store.audit import Actor
from postroad_common.store.jobs import BulkJob, Jobs
from postroad_common.store.messages import MessageRecord, Messages
from postroad_ingress_http.history.search import NAMES, read_criteria
from postroad_ingress_http.http.errors import ApiError, bad_field, not_found
from postroad_ingress_http.jobs.acts import ACTS, Act
from postroad_ingress_http.jobs.idling import Idling

MOST = 100_000
"""Messages of one job."""
MOST_OPEN = 5
"""Jobs of one account that are not finished."""
_CONFIRM_SECONDS = 3600.0
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FoundMessages:
    """What a job would be about: the number of messages, and the newest of them.

    Where the total is not `whole`, it is of those that could be counted in the time there was.
    """

    total: int
    newest: list[MessageRecord]
    whole: bool = True


class JobOrders:
    """Takes orders; `clock` returns Unix seconds."""

    def __init__(self, store: Jobs, messages: Messages, clock: Callable[[], float]) -> None:
        self.store = store
        self._messages = messages
        self._clock = clock
        self.idling = Idling()  # of the worker in this process

    async def count(
        self,
        account: str,
        search: Mapping[str, str],
        *,
        before: str | None = None,
        seconds: float | None = None,
    ) -> FoundMessages:
        """Return what the search finds, of the messages before an id if one is given.

        It takes as long as it needs, or about `seconds`.

        Raises:
            ApiError: 400, a field is wrong, the search asks for nothing, or it finds too many.
        """
        asked = {name: value for name, value in search.items() if value}
        criteria = read_criteria(asked, whole_days=True)
        if not asked:
            raise ApiError(400, "Search for something first: this is for what a search finds.")
        counted = await self._messages.count(
            account, criteria, most=MOST + 1, before=before, seconds=seconds
        )
        if counted.number > MOST:
            raise ApiError(
                400, f"More than {MOST:,} messages match; narrow the search, by time for example."
            )
        newest = await self._messages.look(account, criteria, before=before, limit=_SHOWN)
        return FoundMessages(counted.number, newest.records, counted.whole)

    async def order(
        self,
        job_id: str,
        act: str,
        search: Mapping[str, str],
        actor: Actor,
        *,
        confirmed: int | None = None,
        sender_domains: Sequence[str] = (),
        test: bool = False,
    ) -> None:
        """Have a job done; an order that is given twice is one.

        `job_id` is made when the messages are counted: later ones are not touched. `confirmed` is
        their number where somebody has said it; what they send is bound to the `sender_domains`,
        and is not sent if they only `test`.

        Raises:
            ApiError: 400; 409, too many are open, too long ago, or not as many as confirmed.
        """
        find_act(act)
        now = self._clock()
        if not is_id(job_id) or not now - _CONFIRM_SECONDS < id_time(job_id) <= now:
            raise ApiError(409, "This was counted too long ago; count again.")
        if await self.store.find(actor.account, job_id) is not None:
            return
        found = await self.count(actor.account, search, before=job_id[:TIME_CHARS])
        if confirmed not in {None, found.total}:
            text = f"The search finds {found.total:,} messages, and {confirmed:,} are confirmed."
            raise ApiError(409, text, code="count_differs", field="confirm")
        if await self.store.count_open(actor.account) >= MOST_OPEN:
            raise ApiError(409, f"{MOST_OPEN} jobs are not finished yet; wait for one, or stop it.")
        asked = {name: search[name] for name in NAMES if search.get(name)}
        await self.store.order(
            job_id,
            actor,
            act,
            asked,
            total=found.total,
            now=id_time(job_id),
            sender_domains=sender_domains,
            test=test,
        )
        self.idling.end()

    async def find(self, account: str, job_id: str) -> BulkJob:
        """Return a job of the account.

        Raises:
            ApiError: 404.
        """
        found = await self.store.find(account, job_id) if is_id(job_id) else None
        if found is None:
            raise not_found("job")
        return found

    async def stop(self, account: str, job_id: str) -> None:
        """Have a job end where it is.

        Raises:
            ApiError: 404; 409, it has ended.
        """
        await self.find(account, job_id)
        if not await self.store.stop(account, job_id):
            raise ApiError(409, "This job has ended already.")
        self.idling.end()


def find_act(name: str) -> Act:
    """Return the act of this name.

    Raises:
        ApiError: 400.
    """
    if name not in ACTS:
        raise bad_field("act", f"One of {', '.join(ACTS)}.")
    return ACTS[name]
