"""`postroad send`: a mail, from the command line."""

import json
from pathlib import Path
from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import without_none
from postroad_cli.moments import Moment
from postroad_cli.options import json_option
from postroad_cli.terminal import echo, echo_json
from postroad_stack.rest import RestClient


@click.command()
@click.argument("recipients", nargs=-1, required=True)
@click.option("--from", "sender", default=None, help="Such as 'Shop <shop@example.com>'.")
@click.option("--envelope", default=None, help="Where bounces go.")
@click.option("--subject", default=None)
@click.option("--text", default=None)
@click.option("--html", default=None)
@click.option("--mime", type=click.File("rb"), default=None, help="A whole message; - is stdin.")
@click.option("--template", default=None, help="Id or name of a stored template.")
@click.option("--data", default=None, help="JSON object that tags are filled with.")
@click.option("--at", "sendat", type=Moment("ahead"), default=None, help="Such as 2h, tomorrow.")
@click.option("--tag", "tags", multiple=True, help="May be repeated.")
@click.option("--test", is_flag=True, default=None, help="Do everything but sending it.")
@json_option
@with_api
def send(api: RestClient, /, *, as_json: bool, **options: Any) -> None:
    """Send a mail to RECIPIENTS; prints the id of each one's message."""
    mime, data, sender = options.pop("mime"), options.pop("data"), options.pop("sender")
    recipients, tags = list(options.pop("recipients")), list(options.pop("tags"))
    fields = {
        **options,
        "from": sender,
        "recipients": recipients,
        "tags": tags or None,
        "mime": mime.read().decode("utf-8") if mime else None,
        "data": _object(data) if data else None,
        # One reader may see the own address; of several none should see the others'.
        "to": recipients if sender and len(recipients) == 1 else None,
    }
    answer = api.post("/v1/send", without_none(fields))
    if as_json:
        echo_json(answer)
        return
    for message, recipient in answer.items():
        echo(f"{message}  {recipient}")


def _object(text: str) -> dict[str, Any]:
    source = Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    try:
        found = json.loads(source)
    except ValueError as error:
        raise click.BadParameter(f"this is no JSON: {error}", param_hint="--data") from None
    if not isinstance(found, dict):
        raise click.BadParameter("give a JSON object", param_hint="--data")
    return found
