"""MongoDB from outside the store: what is really in a collection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase


@asynccontextmanager
async def documents(mongodb_uri: str) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    """Open the database of a URI, its collections by name, on a connection of its own."""
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        yield client.get_default_database("postroad")
