"""`postroad preview`: a mail as it would be sent, with what was changed and what to look at."""

import email.utils
import json
from email.parser import BytesHeaderParser
from typing import Any, BinaryIO

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import without_none
from postroad_cli.api.rows import show_rows
from postroad_cli.options import json_option
from postroad_cli.terminal import echo, echo_json
from postroad_stack.rest import RestClient

_FEATURES = click.Choice(
    ["inlinecss", "clicktracking", "openstracking", "bouncetracking", "preventscam", "textfromhtml"]
)
_COLOURS = {"error": "red", "warning": "yellow", "hint": None}


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--recipient", default=None, help="Whom it is for; else the first in its To.")
@click.option("--envelope", default=None, help="Where bounces go.")
@click.option("--on", "switched_on", multiple=True, type=_FEATURES, help="May be repeated.")
@click.option("--off", "switched_off", multiple=True, type=_FEATURES, help="May be repeated.")
@click.option("--show", type=click.Choice(["raw", "html", "text"]), help="Print only this.")
@json_option
@with_api
def preview(
    api: RestClient,
    /,
    *,
    file: BinaryIO,
    switched_on: tuple[str, ...],
    switched_off: tuple[str, ...],
    show: str | None,
    as_json: bool,
    **options: str | None,
) -> None:
    """Show how the mail in FILE would be sent, without sending it.

    FILE is a whole message, or JSON with the fields of `POST /v1/send`; - is stdin. Exits with 1 if
    the mail would be refused.
    """
    switches = {**dict.fromkeys(switched_on, True), **dict.fromkeys(switched_off, False)}
    fields = {**_fields(file.read()), **without_none(dict(options)), **switches}
    answer = api.post("/v1/preview", fields)
    if as_json:
        echo_json(answer)
    elif show:
        echo((answer[show] or "").replace("\r\n", "\n"), nl=False)
    else:
        _show(answer)
    if any(warning["severity"] == "error" for warning in answer["warnings"]):
        raise click.exceptions.Exit(1)


def _fields(octets: bytes) -> dict[str, Any]:
    if octets.lstrip()[:1] == b"{":
        try:
            found = json.loads(octets)
        except ValueError as error:
            raise click.BadParameter(f"this is no JSON: {error}", param_hint="FILE") from None
        return dict(found)
    header = BytesHeaderParser().parsebytes(octets)
    to = email.utils.getaddresses([str(value) for value in header.get_all("to", [])])
    fields: dict[str, Any] = {"mime": octets.decode("utf-8", "replace")}
    return {**fields, "recipient": to[0][1]} if to else fields


def _show(answer: dict[str, Any]) -> None:
    for name in ("recipient", "envelope", "subject", "size"):
        echo(f"{name:<10} {answer[name]}")
    echo(f"{'signed by':<10} {', '.join(answer['signatures']) or '-'}")
    echo()
    show_rows(answer["changes"], ("kind", "count", "before", "reason"), as_json=False)
    echo()
    for warning in answer["warnings"]:
        text = f"{warning['severity']:<8} {warning['code']}: {warning['message']}"
        echo(text, fg=_COLOURS[warning["severity"]])
    if not answer["warnings"]:
        echo("no warnings")
