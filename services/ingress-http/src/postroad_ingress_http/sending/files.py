"""Attachments that a request names by URL: fetched when a mail is accepted, then like all others.

How they are fetched is in `fetching`; here is what of: each URL of a request once, within the time
and the size of a mail, and a refusal that names the field.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from postroad_common.metrics import counter
from postroad_ingress_http.fetching.download import FetchedFile, FileClient
from postroad_ingress_http.fetching.errors import (
    FileFetchError,
    FileTooLargeError,
    NoRoomError,
    UnreachableError,
    UrlRefusedError,
)
from postroad_ingress_http.fetching.places import Allowance, FetchPlaces
from postroad_ingress_http.http.errors import ApiError, bad_field
from postroad_ingress_http.http.fields import beside_the_loop
from postroad_ingress_http.sending.request import AttachmentFields, SendFields
from postroad_ingress_http.sending.submission import Mail

MAIL_SECONDS = 20.0
"""For all files of a mail, with the time that they wait for their turn."""
REQUEST_SECONDS = 50.0
"""For all mails of a request: for about so long its client waits for an answer."""
_CODES: Mapping[type[FileFetchError], str] = {
    UrlRefusedError: "attachment_refused",
    UnreachableError: "attachment_unreachable",
    FileTooLargeError: "attachment_too_large",
}

_OUTCOMES: Mapping[type[FileFetchError], str] = {
    UrlRefusedError: "refused",
    UnreachableError: "unreachable",
    FileTooLargeError: "too_large",
    NoRoomError: "no_room",
}
_FETCHED = counter(
    "postroad_ingress_http_files_fetched_total",
    "URLs of attachments that were to be fetched",
    {"outcome": ("fetched", *_OUTCOMES.values())},
)
Fetching = dict[str, asyncio.Task[FetchedFile | FileFetchError]]
"""What becomes of each URL."""


@dataclass(frozen=True, slots=True)
class RemoteFiles:
    """What fetching needs. `client` is None where nothing is fetched; `most` octets for a mail."""

    client: FileClient | None
    places: FetchPlaces
    most: int

    def of_request(self, account: str, mails: Iterable[Mapping[str, Any]] = ()) -> "RequestFiles":
        """Return the files of one request; of several `mails`, what some have in common is kept."""
        counted = Counter(url for mail in mails for url in urls_of(mail))
        shared = frozenset(url for url, mails_with_it in counted.items() if mails_with_it > 1)
        return RequestFiles(self, account, shared)


class RequestFiles:
    """The files of one request, fetched when they are first wanted; used as a context."""

    def __init__(self, remote: RemoteFiles, account: str, shared: frozenset[str]) -> None:
        self._remote = remote
        self._account = account
        self._shared = shared
        self._deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
        self._kept: Fetching = {}
        self._allowances: list[Allowance] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _end(self._kept)
        for allowance in self._allowances:
            allowance.release()

    @asynccontextmanager
    async def filled(self, mails: Sequence[Mail]) -> AsyncIterator[list[Mail]]:
        """Yield mails that have the same attachments, with the content of those in their place.

        Raises:
            ApiError: 422 with the field whose file is not fetched; 429, 503, not now.
        """
        attachments = mails[0].fields.attachments or ()
        if not any(map(is_remote, attachments)):
            yield list(mails)
            return
        if self._remote.client is None:
            raise _not_offered(attachments)
        own: Fetching = {}
        allowance = self._allowance()
        try:
            with self._remote.places.mail(self._account):
                self._begin(self._remote.client, filter(is_remote, attachments), own, allowance)
                complete = await self._complete(attachments, {**self._kept, **own})
            yield [mail._replace(fields=_with_attachments(mail, complete)) for mail in mails]
        except NoRoomError as error:
            raise _not_now(error) from None
        finally:
            await _end(own)
            allowance.release()

    def _begin(
        self,
        client: FileClient,
        files: Iterable[AttachmentFields],
        own: Fetching,
        allowance: Allowance,
    ) -> None:
        """Have files fetched that are not yet: for this mail alone, or for all that share them."""
        deadline = min(asyncio.get_running_loop().time() + MAIL_SECONDS, self._deadline)
        for file in files:
            url = file.url or ""
            if url not in self._shared and url not in own:
                own[url] = asyncio.create_task(self._fetch(client, url, allowance, deadline))
            elif url in self._shared and url not in self._kept:
                kept = self._shared_allowance()
                self._kept[url] = asyncio.create_task(self._fetch(client, url, kept, deadline))

    def _allowance(self) -> Allowance:
        return Allowance(self._remote.places, self._account, self._remote.most)

    def _shared_allowance(self) -> Allowance:
        """Return an allowance that is released at the end of the request."""
        self._allowances.append(self._allowance())
        return self._allowances[-1]

    async def _fetch(
        self, client: FileClient, url: str, allowance: Allowance, deadline: float
    ) -> FetchedFile | FileFetchError:
        found = await self._try(client, url, allowance, deadline)
        _FETCHED.labels(
            "fetched" if isinstance(found, FetchedFile) else _OUTCOMES[type(found)]
        ).inc()
        return found

    async def _try(
        self, client: FileClient, url: str, allowance: Allowance, deadline: float
    ) -> FetchedFile | FileFetchError:
        its_turn = False
        try:
            async with (
                asyncio.timeout_at(deadline),
                self._remote.places.download(self._account),
            ):
                its_turn = True
                return await client.fetch(url, allowance)
        except FileFetchError as error:
            return error
        except TimeoutError:
            if its_turn:
                return UnreachableError("It has not arrived in time.")
            return NoRoomError("There was no time left for this file.", busy_account=True)

    async def _complete(
        self,
        attachments: Sequence[AttachmentFields],
        fetching: Fetching,
    ) -> list[AttachmentFields]:
        """Return the attachments, all with their content.

        Raises:
            ApiError: 422, naming the first whose file is not there.
            NoRoomError: not all can be fetched now.
        """
        complete: list[AttachmentFields] = []
        left = self._remote.most
        for number, file in enumerate(attachments):
            if not is_remote(file):
                complete.append(file)
                continue
            found = await asyncio.shield(fetching[file.url or ""])
            if isinstance(found, NoRoomError):
                raise found
            if isinstance(found, FileFetchError):
                raise _refusal(number, found)
            left -= len(found.data)
            if left < 0:
                too_large = f"The files have more than {self._remote.most} bytes."
                raise _refusal(number, FileTooLargeError(too_large))
            complete.append(await beside_the_loop(len(found.data), _filled, file, found))
        return complete


def is_remote(file: AttachmentFields) -> bool:
    """Whether it has no content of its own, but a URL."""
    return file.url is not None and file.data is None


def without_files(mail: Mail) -> Mail:
    """Return `mail` with nothing in the files that have to be fetched: to see if it may be sent."""
    attachments = [
        file.model_copy(update={"url": None, "data": ""}) if is_remote(file) else file
        for file in mail.fields.attachments or ()
    ]
    return mail._replace(fields=_with_attachments(mail, attachments))


def urls_of(mail: Mapping[str, Any]) -> set[str]:
    """Return the URLs of files that the fields of a mail name, before they are checked."""
    files = mail.get("attachments")
    if isinstance(files, dict):
        files = list(files.values())
    if not isinstance(files, list):
        return set()
    urls = (file.get("url") for file in files if isinstance(file, dict))
    return {url for url in urls if isinstance(url, str)}


def _with_attachments(mail: Mail, attachments: list[AttachmentFields]) -> SendFields:
    return mail.fields.model_copy(update={"attachments": attachments})


def _filled(file: AttachmentFields, found: FetchedFile) -> AttachmentFields:
    """Return the attachment with its content; what the request says of it is what counts."""
    return file.model_copy(
        update={
            "url": None,
            "data": base64.b64encode(found.data).decode("ascii"),
            "name": file.name or found.name,
            "type": file.type or found.media_type,
        }
    )


def _refusal(number: int, error: FileFetchError) -> ApiError:
    field = f"attachments.{number}.url"
    return ApiError(
        422, f"The file cannot be fetched. {error}", code=_CODES[type(error)], field=field
    )


def _not_offered(attachments: Sequence[AttachmentFields]) -> ApiError:
    number = next(number for number, file in enumerate(attachments) if is_remote(file))
    return bad_field(
        f"attachments.{number}.url",
        "No files are fetched here; give their content in `data`.",
        code="not_offered",
    )


def _not_now(error: NoRoomError) -> ApiError:
    status = 429 if error.busy_account else 503
    return ApiError(status, str(error), headers={"Retry-After": "5"})


async def _end(fetching: Fetching) -> None:
    for task in fetching.values():
        task.cancel()
    await asyncio.gather(*fetching.values(), return_exceptions=True)
