"""How a step of the demo fails."""

from postroad_stack.errors import StackError


class DemoFailedError(StackError):
    """A step did not happen: what was expected, and in which logs the reason stands."""

    def __init__(self, missing: str, *logs: str) -> None:
        advice = f"see {', '.join(f'{name}.log' for name in logs)}" if logs else ""
        super().__init__(missing, advice=advice)
        self.logs = logs
