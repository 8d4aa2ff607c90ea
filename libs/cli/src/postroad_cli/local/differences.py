"""What was asked of `postroad up` and is not so in the stack that runs already."""

from collections.abc import Mapping

from postroad_stack.plan import StackPlan
from postroad_stack.state_dir import StateDir


def differences(
    state: StateDir,
    *,
    environment: Mapping[str, str],
    replicas: Mapping[str, int],
    nodes: int,
    prometheus: bool,
) -> list[str]:
    """Return the options that the running stack was started without, values left out."""
    plan = StackPlan.model_validate_json(state.plan.read_bytes())
    found = [
        f"--env {name}"
        for name, value in environment.items()
        if plan.environment.get(name) != value
    ]
    found += [
        f"--replicas {service}={number}"
        for service, number in replicas.items()
        if plan.count(service) != number
    ]
    if nodes > 1 and plan.nodes != nodes:
        found.append("--cluster")
    if prometheus and plan.prometheus is None:
        found.append("--prometheus")
    return found
