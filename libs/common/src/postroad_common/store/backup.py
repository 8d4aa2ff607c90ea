"""The whole database as files, and back: for installations without MongoDB's own tools.

The files are those of `mongodump --gzip` (a BSON file for each collection, and what its indexes
are), so each reads what the other wrote. All collections are read at one point in time; the server
keeps that point for five minutes by default, so a database that takes longer to read wants
`mongodump --oplog` or a snapshot of its disk.
"""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bson import json_util
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo import AsyncMongoClient, IndexModel
from pymongo.errors import BulkWriteError, PyMongoError

from postroad_common.errors import StoreAway
from postroad_common.store.access import duplicates

_BATCH = 500  # documents of one write
_BATCH_OCTETS = 8 * 1024 * 1024
_LENGTH = 4  # octets at the start of a BSON document that say how long it is
_INTERNAL = "system."


class BackupError(Exception):
    """The files cannot be used; the message names the one and says why."""


class Backup:
    """The database that `uri` names, and the folder of its files."""

    def __init__(self, uri: str, folder: Path) -> None:
        self._uri = uri
        self._folder = folder

    async def dump(self) -> dict[str, int]:
        """Write every collection into the folder; return how many documents each has.

        Raises:
            BackupError: the folder holds files already.
            StoreAway: MongoDB does not answer, or is not a replica set.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(self._folder.iterdir()):
            raise BackupError(f"{self._folder} is not empty")
        counts: dict[str, int] = {}
        try:
            async with self._client() as client:
                database = client.get_default_database("postroad")
                names = await database.list_collection_names()
                async with client.start_session(snapshot=True) as session:
                    for name in sorted(names):
                        if name.startswith(_INTERNAL):
                            continue
                        indexes = [dict(each) async for each in await database[name].list_indexes()]
                        self._write_metadata(name, indexes)
                        counts[name] = await self._write(name, database[name].find(session=session))
        except PyMongoError as error:
            raise StoreAway(f"MongoDB cannot be read: {str(error)[:300]}") from error
        return counts

    async def restore(self) -> dict[str, int]:
        """Put the documents of the files into the database; return how many each collection got.

        Documents whose key is there already stay as they are.

        Raises:
            BackupError: the folder holds no backup, or a damaged one.
            StoreAway: MongoDB does not answer.
        """
        files = sorted(self._folder.glob("*.bson.gz"))
        if not files:
            raise BackupError(f"{self._folder} holds no *.bson.gz")
        counts: dict[str, int] = {}
        try:
            async with self._client() as client:
                database = client.get_default_database("postroad")
                for file in files:
                    name = file.name.removesuffix(".bson.gz")
                    indexes = self._read_metadata(name)
                    if indexes:
                        await database[name].create_indexes(indexes)
                    counts[name] = 0
                    for batch in _batches(file):
                        counts[name] += await _insert(database[name], batch)
        except PyMongoError as error:
            raise StoreAway(f"MongoDB cannot be written: {str(error)[:300]}") from error
        return counts

    def _client(self) -> AsyncMongoClient[RawBSONDocument]:
        return AsyncMongoClient(
            self._uri,
            appname="postroad backup",
            serverSelectionTimeoutMS=5000,
            document_class=RawBSONDocument,
            w="majority",
        )

    async def _write(self, name: str, cursor: Any) -> int:
        count = 0
        with gzip.open(self._folder / f"{name}.bson.gz", "wb", compresslevel=6) as file:
            async for document in cursor:
                file.write(document.raw)
                count += 1
        return count

    def _write_metadata(self, name: str, indexes: Sequence[Mapping[str, Any]]) -> None:
        found = [_plain(each) for each in indexes]
        text = json_util.dumps({"indexes": found, "collectionName": name, "type": "collection"})
        with gzip.open(self._folder / f"{name}.metadata.json.gz", "wt") as file:
            file.write(text)

    def _read_metadata(self, name: str) -> list[IndexModel]:
        try:
            with gzip.open(self._folder / f"{name}.metadata.json.gz", "rt") as file:
                found = json_util.loads(file.read())["indexes"]
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise BackupError(f"{name}.metadata.json.gz cannot be read: {error}") from None
        return [
            IndexModel(list(each["key"].items()), **_options(each))
            for each in found
            if each["name"] != "_id_"
        ]


def _plain(value: Any) -> Any:
    """Return what a raw document holds as ordinary values."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _options(index: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in index.items() if key not in {"key", "v", "ns"}}


def _batches(file: Path) -> Any:
    """Yield lists of documents; raises BackupError for a file that ends too soon."""
    batch: list[RawBSONDocument] = []
    size = 0
    try:
        with gzip.open(file, "rb") as source:
            while head := source.read(_LENGTH):
                length = int.from_bytes(head, "little")
                raw = head + source.read(length - _LENGTH)
                if len(raw) != length:
                    raise BackupError(f"{file.name} ends in the middle of a document")
                batch.append(RawBSONDocument(raw, DEFAULT_RAW_BSON_OPTIONS))
                size += length
                if len(batch) >= _BATCH or size >= _BATCH_OCTETS:
                    yield batch
                    batch, size = [], 0
    except (OSError, EOFError) as error:
        raise BackupError(f"{file.name} is damaged: {error}") from None
    if batch:
        yield batch


async def _insert(collection: Any, batch: Sequence[RawBSONDocument]) -> int:
    try:
        await collection.insert_many(batch, ordered=False)
    except BulkWriteError as error:
        return len(batch) - len(duplicates(error))
    return len(batch)
