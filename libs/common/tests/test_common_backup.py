"""Backup and restore against a real database: all of it, or a word about what is wrong."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient, IndexModel

from postroad_common.errors import StoreAway
from postroad_common.mail.identifiers import new_id
from postroad_common.store.backup import Backup, BackupError

Client = AsyncMongoClient[dict[str, Any]]


def elsewhere(uri: str, name: str) -> str:
    """Return the URI of another database of the same server."""
    head, _, options = uri.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{options}"


@pytest.fixture
async def uri(mongodb_uri: str) -> AsyncIterator[str]:
    """Name a database with two collections, that is dropped afterwards."""
    made = elsewhere(mongodb_uri, f"backup{new_id()}")
    async with Client(made) as client:
        database = client.get_default_database()
        documents = [{"_id": number, "raw": bytes([number % 256]) * 50} for number in range(1234)]
        await database["many"].insert_many(documents)
        await database["many"].create_indexes([IndexModel([("raw", 1), ("_id", -1)])])
        await database["few"].create_indexes(
            [IndexModel([("name", 1)], unique=True), IndexModel([("at", 1)], expireAfterSeconds=99)]
        )
        await database["few"].insert_one({"_id": "a", "name": "é", "nested": {"list": [1, 2.5]}})
        yield made
        await client.drop_database(database.name)


async def contents(uri: str) -> dict[str, Any]:
    """Return every document and index."""
    found: dict[str, Any] = {}
    async with Client(uri) as client:
        database = client.get_default_database()
        for name in await database.list_collection_names():
            documents = await database[name].find().sort("_id").to_list()
            indexes = await database[name].index_information()
            found[name] = documents, indexes
    return found


async def drop(uri: str) -> None:
    async with Client(uri) as client:
        await client.drop_database(client.get_default_database().name)


async def test_what_was_dumped_is_there_again_with_its_indexes(uri: str, tmp_path: Path) -> None:
    before = await contents(uri)
    assert await Backup(uri, tmp_path / "b").dump() == {"few": 1, "many": 1234}
    await drop(uri)
    assert await contents(uri) == {}
    assert await Backup(uri, tmp_path / "b").restore() == {"few": 1, "many": 1234}
    assert await contents(uri) == before


async def test_what_is_there_already_stays_as_it_is(uri: str, tmp_path: Path) -> None:
    await Backup(uri, tmp_path / "b").dump()
    async with Client(uri) as client:
        many = client.get_default_database()["many"]
        await many.update_one({"_id": 7}, {"$set": {"raw": b"newer"}})
        await many.delete_one({"_id": 8})
        assert await Backup(uri, tmp_path / "b").restore() == {"few": 0, "many": 1}
        assert await many.find_one({"_id": 7}) == {"_id": 7, "raw": b"newer"}
        assert await many.count_documents({}) == 1234


async def test_a_folder_with_files_is_not_written_over(uri: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    with pytest.raises(BackupError, match="not empty"):
        await Backup(uri, tmp_path).dump()


async def test_a_file_that_was_cut_off_is_named(uri: str, tmp_path: Path) -> None:
    await Backup(uri, tmp_path / "b").dump()
    file = tmp_path / "b" / "many.bson.gz"
    with gzip.open(file, "rb") as source:
        whole = source.read()
    with gzip.open(file, "wb") as cut:
        cut.write(whole[:-3])
    with pytest.raises(BackupError, match=r"many\.bson\.gz ends in the middle"):
        await Backup(uri, tmp_path / "b").restore()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BackupError, match=r"many\.bson\.gz is damaged"):
        await Backup(uri, tmp_path / "b").restore()


async def test_nothing_to_restore_and_no_database_are_said(tmp_path: Path) -> None:
    nowhere = "mongodb://127.0.0.1:9/postroad?serverSelectionTimeoutMS=100"
    with pytest.raises(BackupError, match=r"holds no \*\.bson\.gz"):
        await Backup(nowhere, tmp_path).restore()
    with pytest.raises(StoreAway, match="MongoDB cannot be read"):
        await Backup(nowhere + "&connectTimeoutMS=100", tmp_path / "b").dump()
