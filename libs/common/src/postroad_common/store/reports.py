"""Reports of providers' feedback loops that no message was found for, kept for people to read.

What was found is in the timeline of its message and not here. Nothing is done about what is here.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pymongo import ReplaceOne

from postroad_common.store.access import Collection, Document, guarded, to_date


@dataclass(frozen=True, slots=True)
class UnmatchedReport:
    """One such mail. `account` is empty where it came to an address of the deployment.

    `reason` says why it was not matched, `message` the message that it may be about, `type` what
    it reports (empty where it is no complaint). `received` is Unix seconds.
    """

    id: str
    account: str
    address: str
    received: float
    mail_from: str
    client: str
    subject: str
    reason: str
    type: str = ""
    reporter: str = ""
    recipient: str = ""
    feedback_id: str = ""
    message_id: str = ""
    message: str = ""
    text: str = ""


_FIELDS = tuple(UnmatchedReport.__dataclass_fields__)


def _read(found: Document) -> UnmatchedReport:
    values = {name: found[name] for name in _FIELDS if name in found}
    return UnmatchedReport(**(values | {"id": found["_id"]}))


class UnmatchedReports:
    """The collection `feedback_reports`."""

    def __init__(self, collection: Collection) -> None:
        self._reports = collection

    @guarded
    async def add(self, reports: Iterable[UnmatchedReport]) -> None:
        """Keep reports; one that is here already stays once."""
        operations = []
        for report in reports:
            values = asdict(report)
            key = values.pop("id")
            values["at"] = to_date(report.received)
            operations.append(ReplaceOne({"_id": key}, values, upsert=True))
        if operations:
            await self._reports.bulk_write(operations, ordered=False)

    @guarded
    async def list(
        self, account: str, *, before: str | None = None, limit: int = 50
    ) -> list[UnmatchedReport]:
        """Return the reports of `account`, newest first; `before` is the last id of a page."""
        query: Document = {"account": account}
        if before is not None:
            query["_id"] = {"$lt": before}
        cursor = self._reports.find(query).sort("_id", -1).limit(limit)
        return [_read(found) async for found in cursor]

    @guarded
    async def get(self, account: str, report_id: str) -> UnmatchedReport | None:
        """Return one report of `account`."""
        found = await self._reports.find_one({"_id": report_id, "account": account})
        return None if found is None else _read(found)

    @guarded
    async def remove(self, account: str, report_id: str) -> bool:
        """Delete one report of `account`; False when there is none."""
        result = await self._reports.delete_one({"_id": report_id, "account": account})
        return result.deleted_count == 1
