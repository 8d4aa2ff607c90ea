"""Which deployment the administration commands speak to."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import click

from postroad_cli.options import state_dir_option
from postroad_stack.errors import StackError
from postroad_stack.rest import RestClient
from postroad_stack.state_dir import StateDir

P = ParamSpec("P")
R = TypeVar("R")


_account_option = click.option(
    "--account",
    "account_to_act_in",
    metavar="ID",
    default=None,
    help="The account to act in, for the operator; without it, the token's own.",
)


def connect(state: StateDir, account: str | None = None) -> RestClient:
    """Return a client for POSTROAD_URL with POSTROAD_TOKEN, else for the stack of the state dir.

    Raises:
        StackError: neither is there.
    """
    url, token = os.environ.get("POSTROAD_URL"), os.environ.get("POSTROAD_TOKEN")
    if url and token:
        try:
            return RestClient(url, token, account=account)
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
    return RestClient(document.http, document.token, account=account)


def with_api(command: Callable[Concatenate[RestClient, P], R]) -> Callable[P, R]:
    """Give a command a connected client, and the options `--state-dir` and `--account`."""

    @wraps(command)
    def connected(*args: P.args, **kwargs: P.kwargs) -> R:
        state, account = kwargs.pop("state"), kwargs.pop("account_to_act_in")
        if not isinstance(state, StateDir):
            raise TypeError("--state-dir gives a StateDir")
        return command(connect(state, str(account) if account else None), *args, **kwargs)

    return state_dir_option(_account_option(connected))
