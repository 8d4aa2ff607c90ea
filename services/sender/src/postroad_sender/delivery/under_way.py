"""The jobs that are in this process, so that no message is begun twice."""

from collections.abc import Iterator

from postroad_sender.delivery.job import Job


class JobsUnderWay:
    """One per process. Each job counts against the place that its shard has here."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        """Yield all of them."""
        return iter(self._jobs.values())

    def twin_of(self, job: Job) -> Job | None:
        """Return another job of the same message, if one is under way."""
        return self._jobs.get(job.message.id)

    def add(self, job: Job) -> None:
        """Begin with `job`."""
        self._jobs[job.message.id] = job
        job.shard.held += 1
        job.shard.octets += len(job.body)

    def forget(self, job: Job) -> None:
        """End with `job`."""
        if self._jobs.get(job.message.id) is job:
            del self._jobs[job.message.id]
            job.shard.held -= 1
            job.shard.octets -= len(job.body)
