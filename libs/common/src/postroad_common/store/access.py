"""How the repositories talk to the driver: errors translated, duplicates told, times converted."""

import functools
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeAlias, TypeVar

import pymongo
import structlog
from bson.errors import BSONError
from pymongo import errors
from pymongo.asynchronous.collection import AsyncCollection

from postroad_common.errors import StoreAway, Unstorable
from postroad_common.metrics import DATABASE_FAILURES

_DUPLICATE_KEY = 11000
_NOT_LET_IN = frozenset({13, 18})  # Unauthorized, AuthenticationFailed
# UnknownError, as which WiredTiger's troubles with its files arrive, and OutOfDiskSpace.
_CANNOT_WRITE = frozenset({8, 14031})
_LOST_LOCK = "Lock is not acquired"
_log = structlog.get_logger("store")
_failed_away = DATABASE_FAILURES.labels("away")
_failed_refused = DATABASE_FAILURES.labels("refused")
_failed_unstorable = DATABASE_FAILURES.labels("unstorable")

P = ParamSpec("P")
R = TypeVar("R")

Document: TypeAlias = dict[str, Any]
Collection: TypeAlias = AsyncCollection[Document]

_AWAY = (
    errors.ConnectionFailure,  # with its children: no server, time-outs, not primary
    errors.ExecutionTimeout,
    errors.WTimeoutError,
    errors.WaitQueueTimeoutError,
)


def guarded(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Turn the driver's connection troubles into StoreAway, and refused values into Unstorable.

    A driver that has lost a lock of its own waits for it for ever (PyMongo 4, when a server dies
    under load): the process drains and ends, to be started anew.
    """

    @functools.wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except _AWAY as error:
            _failed_away.inc()
            raise StoreAway(f"MongoDB is away: {str(error)[:200]}") from error
        except errors.PyMongoError as error:
            if error.timeout or error.has_error_label("RetryableWriteError"):
                _failed_away.inc()
                raise StoreAway(f"MongoDB is away: {str(error)[:200]}") from error
            if not _CANNOT_WRITE.isdisjoint(_codes(error)):
                _failed_away.inc()
                raise StoreAway(f"MongoDB cannot write: {str(error)[:200]}") from error
            _failed_refused.inc()
            if isinstance(error, errors.OperationFailure) and error.code in _NOT_LET_IN:
                # The operator's to mend, and nothing that was accepted is lost until then.
                _log.error("MongoDB refuses this service", error=str(error)[:300])
                raise StoreAway(f"MongoDB refuses: {str(error)[:200]}") from error
            raise
        except (BSONError, OverflowError) as error:
            _failed_unstorable.inc()
            raise Unstorable(f"cannot be stored: {str(error)[:200]}") from error
        except RuntimeError as error:
            if str(error) != _LOST_LOCK:
                raise
            _failed_away.inc()
            _log.error("the driver of MongoDB is broken, this process ends")
            signal.raise_signal(signal.SIGTERM)
            raise StoreAway("the driver of MongoDB is broken") from error

    return wrapper


def _codes(error: errors.PyMongoError) -> set[int | None]:
    """Return the server's codes of what failed."""
    if isinstance(error, errors.BulkWriteError):
        return {item.get("code") for item in error.details.get("writeErrors", ())}
    return {error.code} if isinstance(error, errors.OperationFailure) else set()


def within(seconds: float) -> AbstractContextManager[object]:
    """Give all calls of a block so many seconds together, instead of the usual time for each."""
    return pymongo.timeout(seconds)


def to_date(seconds: float) -> datetime:
    """Unix seconds as the date that TTL indexes need."""
    return datetime.fromtimestamp(seconds, UTC)


async def insert_new(collection: Collection, document: Document) -> bool:
    """Insert `document`; return False, and change nothing, where its key is taken."""
    try:
        await collection.insert_one(document)
    except errors.DuplicateKeyError:
        return False
    return True


async def insert_unknown(collection: Collection, documents: Sequence[Document]) -> set[int]:
    """Insert those of `documents` whose keys are free; return the indexes of the others."""
    try:
        await collection.insert_many(documents, ordered=False)
    except errors.BulkWriteError as error:
        return duplicates(error)
    return set()


def duplicates(error: errors.BulkWriteError) -> set[int]:
    """Return the indexes of the operations of an unordered write that met a key that is taken.

    Raises:
        BulkWriteError: some operation failed for another reason.
    """
    failed = error.details.get("writeErrors", [])
    if any(item["code"] != _DUPLICATE_KEY for item in failed):
        raise error
    return {item["index"] for item in failed}
