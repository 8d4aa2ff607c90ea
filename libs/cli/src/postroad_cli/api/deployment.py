"""Which deployment the administration commands speak to."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from postroad_cli.options import state_dir_option
from postroad_stack.errors import StackError
from postroad_stack.rest import RestClient
from postroad_stack.state_dir import StateDir

P = ParamSpec("P")
R = TypeVar("R")


def connect(state: StateDir) -> RestClient:
    """Return a client for POSTROAD_URL with POSTROAD_TOKEN, else for the stack of the state dir.

    Raises:
        StackError: neither is there.
    """
    url, token = os.environ.get("POSTROAD_URL"), os.environ.get("POSTROAD_TOKEN")
    if url and token:
        try:
            return RestClient(url, token)
        except ValueError as error:
            raise StackError(f"POSTROAD_URL: {error}") from None
    if url or token:
        missing = "POSTROAD_TOKEN" if url else "POSTROAD_URL"
        raise StackError(f"{missing} is not set", advice="set both, or neither for the local stack")
    status = state.read_status() if state.supervised() else None
    document = status.document if status else None
    if document is None or document.http is None or document.token is None:
        raise StackError(
            f"no stack runs in {state.root}",
            advice="start one (postroad up), or set POSTROAD_URL and POSTROAD_TOKEN",
        )
    return RestClient(document.http, document.token)


def with_api(command: Callable[Concatenate[RestClient, P], R]) -> Callable[P, R]:
    """Give a command a connected client as its first argument, and the option `--state-dir`."""

    @wraps(command)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        state = kwargs.pop("state")
        if not isinstance(state, StateDir):
            raise TypeError("--state-dir gives a StateDir")
        return command(connect(state), *args, **kwargs)

    return state_dir_option(connected)
