"""`postroad logs`: daily log files."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.terminal import echo, echo_json
from postroad_stack.rest import RestClient


@click.command()
@click.argument("name", required=False)
@click.option("--format", "form", type=click.Choice(["header", "json", "xml"]), default=None)
@with_api
def logs(api: RestClient, /, *, name: str | None, form: str | None) -> None:
    """Show daily log files: the days, the files of a day, or one file as CSV.

    NAME is a day or a file; without it the days are shown.
    """
    parts = ["/v1/logfiles", *(part for part in (name, form) if part)]
    found = api.get("/".join(parts))
    if isinstance(found, str):
        echo(found.removesuffix("\n"))
    elif all(isinstance(one, str) for one in found):
        for one in found:
            echo(one)
    else:
        echo_json(found)
