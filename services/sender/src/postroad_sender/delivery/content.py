"""The octets of a job's message, and what becomes of the job where they are not to be had."""

import structlog

from postroad_common.errors import StoreAway
from postroad_common.mail.requeue import RequeueReason
from postroad_common.store.bodies import BodyGone
from postroad_sender.delivery.body import BodyReader, PatchError, Pieces
from postroad_sender.delivery.disposition import Disposition
from postroad_sender.delivery.job import Job

STORE_AWAY_PAUSE = 30.0  # seconds

_log = structlog.get_logger("content")


class ContentReader:
    """One per process."""

    def __init__(self, bodies: BodyReader, disposition: Disposition) -> None:
        self._bodies = bodies
        self._disposition = disposition

    async def pieces(self, job: Job) -> Pieces | None:
        """Return the octets of the message; None where there are none: then the job has ended."""
        try:
            return await self._bodies.pieces(job.message, job.body)
        except StoreAway as error:
            reason, text = RequeueReason.BODY_UNAVAILABLE, f"body not at hand: {error}"
            self._disposition.requeue(job, STORE_AWAY_PAUSE, reason, text)
        except (BodyGone, PatchError) as error:
            _log.error("no body", message=job.message.id, error=str(error))
            await self._disposition.dead_letter(job, f"no body: {error}")
        return None
