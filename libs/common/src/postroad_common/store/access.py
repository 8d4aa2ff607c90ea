"""How the repositories talk to the driver: errors translated, times converted."""

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeAlias, TypeVar

from bson.errors import BSONError
from pymongo import errors
from pymongo.asynchronous.collection import AsyncCollection

from postroad_common.errors import StoreAway, Unstorable

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
    """Turn the driver's connection troubles into StoreAway, and refused values into Unstorable."""

    @functools.wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except _AWAY as error:
            raise StoreAway(f"MongoDB is away: {str(error)[:200]}") from error
        except errors.PyMongoError as error:
            if error.timeout or error.has_error_label("RetryableWriteError"):
                raise StoreAway(f"MongoDB is away: {str(error)[:200]}") from error
            raise
        except (BSONError, OverflowError) as error:
            raise Unstorable(f"cannot be stored: {str(error)[:200]}") from error

    return wrapper


def to_date(seconds: float) -> datetime:
    """Unix seconds as the date that TTL indexes need."""
    return datetime.fromtimestamp(seconds, UTC)
