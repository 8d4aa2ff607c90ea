"""Servers given by URL: they belong to somebody else, and may be starting, too."""

import asyncio
import time
from pathlib import Path

from postroad_common.servertls import ServerTls
from postroad_stack.errors import NotReadyError, StartFailedError
from postroad_stack.plan import ServerSource, StackPlan
from postroad_stack.servers.rabbitmq import check_broker
from postroad_stack.status import Failure

_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.5


async def wait_for_given(plan: StackPlan, amqp: str, mongodb: str) -> None:
    """Return when the servers that the plan names by URL let us in.

    Raises:
        StartFailedError: one does not, after 30 seconds.
    """
    if ServerSource.GIVEN not in {plan.rabbitmq.source, plan.mongod.source}:
        return
    # Half a second, that the start of the stack's own servers need not wait for.
    from postroad_stack.servers.replica_set import check_database  # noqa: PLC0415

    for name, choice, check, url, tls in (
        ("rabbitmq", plan.rabbitmq, check_broker, amqp, _tls(plan, "AMQP")),
        ("mongod", plan.mongod, check_database, mongodb, _tls(plan, "MONGODB")),
    ):
        if choice.source is not ServerSource.GIVEN:
            continue
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                await check(url, tls)
                break
            except NotReadyError as error:
                if time.monotonic() > deadline:
                    raise StartFailedError(
                        Failure(
                            process=name,
                            reason=f"the server given by URL cannot be used: {error}",
                            log="",
                            advice="check the URL, the login and that the server runs",
                        )
                    ) from None
            await asyncio.sleep(_POLL_SECONDS)


def _tls(plan: StackPlan, server: str) -> ServerTls:
    """Return the files that the settings of the plan name for a server."""

    def file(kind: str) -> Path | None:
        named = plan.environment.get(f"POSTROAD_{server}_{kind}")
        return Path(named) if named else None

    return ServerTls(file("CA"), file("CERT"), file("KEY"))
