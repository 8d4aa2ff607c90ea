"""The complaint feeds: where providers send complaints, and those that no message was found for."""

from dataclasses import dataclass
from typing import Literal

from postroad_common.mail.feedbackloop import FeedbackAddresses
from postroad_common.store.reports import UnmatchedReport, UnmatchedReports
from postroad_ingress_http.http.errors import not_found

Owner = Literal["account", "deployment"]


@dataclass(frozen=True, slots=True)
class FeedAddresses:
    """What is entered at a provider. Only the account's own and the deployment's are secrets."""

    account: str
    deployment: str | None
    open: str


class ComplaintFeeds:
    """Addresses and reports; `deployment` stands for what belongs to no account."""

    def __init__(self, addresses: FeedbackAddresses, reports: UnmatchedReports) -> None:
        self._addresses = addresses
        self._reports = reports

    def addresses(self, account: str, *, deployment: bool) -> FeedAddresses:
        """Return the addresses; the secret one of the deployment only where it may be seen."""
        return FeedAddresses(
            account=self._addresses.secret_address(account),
            deployment=self._addresses.secret_address() if deployment else None,
            open=self._addresses.open_address(),
        )

    async def reports(
        self, account: str, owner: Owner, *, before: str | None = None, limit: int = 50
    ) -> list[UnmatchedReport]:
        """Return reports, newest first, after the id `before`."""
        return await self._reports.list(_name(account, owner), before=before, limit=limit)

    async def report(self, account: str, owner: Owner, report_id: str) -> UnmatchedReport:
        """Return one report.

        Raises:
            ApiError: 404.
        """
        found = await self._reports.get(_name(account, owner), report_id)
        if found is None:
            raise not_found("report")
        return found

    async def remove(self, account: str, owner: Owner, report_id: str) -> None:
        """Delete one report.

        Raises:
            ApiError: 404.
        """
        if not await self._reports.remove(_name(account, owner), report_id):
            raise not_found("report")


def _name(account: str, owner: Owner) -> str:
    return account if owner == "account" else ""
