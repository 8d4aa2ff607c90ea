"""Templates of mails: each with its versions, of which the last is the one in use.

A template's document lists its versions; what a version says is in a document of its own, written
first. A version that no list names was never finished, or pruned, and is of no account.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.errors import DuplicateKeyError

from postroad_common.mail.identifiers import new_id
from postroad_common.store.access import Collection, Document, guarded

KEPT_VERSIONS = 100
"""Versions of one template that are kept."""


@dataclass(frozen=True, slots=True)
class TemplateVersion:
    """A version: its number, counted from 1, and when it was made (Unix seconds)."""

    number: int
    content: str
    """The id of what it says."""
    created: float


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """A template of `account`; `versions` has the oldest first and is never empty."""

    id: str
    account: str
    name: str
    created: float
    versions: tuple[TemplateVersion, ...]

    @property
    def version(self) -> TemplateVersion:
        """Return the version that is in use."""
        return self.versions[-1]

    def numbered(self, number: int) -> TemplateVersion | None:
        """Return the version of this number; None where there is none any more."""
        return next((one for one in self.versions if one.number == number), None)


class Templates:
    """The collections `templates` and `template_contents`."""

    def __init__(self, templates: Collection, contents: Collection) -> None:
        self._templates = templates
        self._contents = contents

    @guarded
    async def create(
        self, account: str, name: str, content: Mapping[str, Any]
    ) -> MailTemplate | None:
        """Add a template; None when the account has one of this name."""
        now = time.time()
        version = await self._write(account, 1, content, now)
        document: Document = {
            "_id": new_id(now),
            "account": account,
            "name": name,
            "created": now,
            "versions": [version],
        }
        try:
            await self._templates.insert_one(document)
        except DuplicateKeyError:
            await self._contents.delete_one({"_id": version["content"]})
            return None
        return _read(document)

    @guarded
    async def add_version(
        self, template: MailTemplate, content: Mapping[str, Any]
    ) -> MailTemplate | None:
        """Make `content` the version in use; None when the template has changed since it was read.

        The oldest beyond `KEPT_VERSIONS` go.
        """
        version = await self._write(
            template.account, template.version.number + 1, content, time.time()
        )
        found = await self._templates.find_one_and_update(
            {
                "_id": template.id,
                "account": template.account,
                "versions.content": template.version.content,
                "versions.number": {"$ne": version["number"]},
            },
            {"$push": {"versions": {"$each": [version], "$slice": -KEPT_VERSIONS}}},
            return_document=True,
        )
        if found is None:
            await self._contents.delete_one({"_id": version["content"]})
            return None
        changed = _read(found)
        kept = {one.content for one in changed.versions}
        gone = [one.content for one in template.versions if one.content not in kept]
        if gone:
            await self._contents.delete_many({"_id": {"$in": gone}})
        return changed

    async def _write(
        self, account: str, number: int, content: Mapping[str, Any], now: float
    ) -> Document:
        """Write what a version says; return the entry of the list that names it."""
        identifier = new_id(now)
        await self._contents.insert_one(
            {"_id": identifier, "account": account, "content": dict(content)}
        )
        return {"number": number, "content": identifier, "created": now}

    @guarded
    async def rename(self, account: str, template: str, name: str) -> MailTemplate | None:
        """Give the template another name; None when that name is taken.

        Raises:
            LookupError: there is no such template.
        """
        try:
            found = await self._templates.find_one_and_update(
                {"_id": template, "account": account},
                {"$set": {"name": name}},
                return_document=True,
            )
        except DuplicateKeyError:
            return None
        if found is None:
            raise LookupError(template)
        return _read(found)

    @guarded
    async def find(self, account: str, name: str) -> MailTemplate | None:
        """Return the template with the id, or else the name, `name`."""
        cursor = self._templates.find(
            {"account": account, "$or": [{"_id": name}, {"name": name}]}
        ).limit(2)
        found = [_read(document) async for document in cursor]
        return next((one for one in found if one.id == name), found[0] if found else None)

    @guarded
    async def content(self, account: str, version: TemplateVersion) -> dict[str, Any] | None:
        """Return what a version says; None when it has gone meanwhile."""
        found = await self._contents.find_one({"_id": version.content, "account": account})
        return None if found is None else found["content"]

    @guarded
    async def list(self, account: str, after: str = "", limit: int = 100) -> list[MailTemplate]:
        """Return at most `limit` templates with names behind `after`, by name."""
        cursor = self._templates.find({"account": account, "name": {"$gt": after}})
        return [_read(found) async for found in cursor.sort("name", 1).limit(limit)]

    @guarded
    async def count(self, account: str) -> int:
        """Return how many templates the account has."""
        return await self._templates.count_documents({"account": account})

    @guarded
    async def delete(self, account: str, template: str) -> bool:
        """Remove the template with all its versions; False when there is none of this id."""
        found = await self._templates.find_one_and_delete({"_id": template, "account": account})
        if found is None:
            return False
        names = [version.content for version in _read(found).versions]
        await self._contents.delete_many({"_id": {"$in": names}})
        return True


def _read(found: Document) -> MailTemplate:
    return MailTemplate(
        id=found["_id"],
        account=found["account"],
        name=found["name"],
        created=found["created"],
        versions=tuple(TemplateVersion(**version) for version in found["versions"]),
    )
