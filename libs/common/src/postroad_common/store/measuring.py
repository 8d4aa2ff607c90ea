"""How long MongoDB takes, measured by the driver for each command."""

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)
from typing_extensions import override

from postroad_common.metrics import COMMANDS, DATABASE_SECONDS

_MICROSECOND = 1e-6
_SECONDS = {command: DATABASE_SECONDS.labels(command) for command in COMMANDS}
_OTHER = _SECONDS["other"]


class CommandTimes(CommandListener):
    """Observes every command that was answered, with success or not."""

    @override
    def started(self, event: CommandStartedEvent) -> None:
        """Do nothing: the duration comes with the answer."""

    @override
    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Observe the command."""
        _SECONDS.get(event.command_name, _OTHER).observe(event.duration_micros * _MICROSECOND)

    @override
    def failed(self, event: CommandFailedEvent) -> None:
        """Observe the command."""
        _SECONDS.get(event.command_name, _OTHER).observe(event.duration_micros * _MICROSECOND)
