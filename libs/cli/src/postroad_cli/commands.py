"""The subcommands: where each is, and what `postroad --help` says of it.

A subcommand's module is imported when it is called, so that none pays for what another needs.
"""

from importlib import import_module
from typing import NamedTuple

import click
from typing_extensions import override


class CommandPlace(NamedTuple):
    """Where a subcommand is defined, and the first line of its help."""

    module: str
    help: str


SUBCOMMANDS = {
    "up": CommandPlace("local.up", "Start RabbitMQ, MongoDB, every service and a mail sink."),
    "down": CommandPlace(
        "local.down",
        "Stop exactly what `up` started; services finish what they have in hand first.",
    ),
    "status": CommandPlace(
        "local.status", "Show what runs, since when, and how often it was started again."
    ),
    "prepare": CommandPlace(
        "local.prepare",
        "Fetch and install what `up` would, and say where RabbitMQ and MongoDB come from.",
    ),
    "backup": CommandPlace(
        "local.backup",
        "Write the whole database into FOLDER, as it is at one moment; mail flows on.",
    ),
    "restore": CommandPlace(
        "local.backup", "Put the database of a backup back; what is there already stays as it is."
    ),
    "demo": CommandPlace(
        "demo.command",
        "Send a real mail through a whole Postroad and show everything that happens to it.",
    ),
    "completion": CommandPlace(
        "completion",
        'Print what makes SHELL complete commands: eval "$(postroad completion bash)".',
    ),
    "send": CommandPlace(
        "api.send", "Send a mail to RECIPIENTS; prints the id of each one's message."
    ),
    "preview": CommandPlace(
        "api.preview", "Show how the mail in FILE would be sent, without sending it."
    ),
    "scheduled": CommandPlace("api.scheduled", "Mail that waits for its time."),
    "messages": CommandPlace(
        "api.messages", "Find messages (without a command), export them, try one now, cancel one."
    ),
    "jobs": CommandPlace("api.jobs", "Acts on all messages that a search finds."),
    "trace": CommandPlace("api.trace", "Show the life of one message, event by event."),
    "events": CommandPlace("api.events", "Find events."),
    "stats": CommandPlace(
        "api.stats", "Show numbers per hour, day or week, of all mail or of a part of it."
    ),
    "logs": CommandPlace(
        "api.logs", "Show daily log files: the days, the files of a day, or one file as CSV."
    ),
    "templates": CommandPlace("api.templates", "Keep mails with tags."),
    "credentials": CommandPlace("api.credentials", "SMTP logins and their features."),
    "tokens": CommandPlace("api.tokens", "REST tokens."),
    "domains": CommandPlace("api.domains", "Sender domains: DNS records, DKIM keys."),
    "suppressions": CommandPlace("api.suppressions", "Addresses that get no mail."),
    "webhooks": CommandPlace("api.webhooks", "URLs that are called for events."),
    "addresses": CommandPlace("api.addresses", "Show or erase all that is stored of one address."),
    "accounts": CommandPlace("api.accounts", "Accounts, for the operator of a deployment."),
    "users": CommandPlace("api.users", "Users of the dashboard, and their roles."),
    "audit": CommandPlace("api.audit", "Show who changed what, when and from where."),
    "lanes": CommandPlace(
        "api.lanes", "Delivery lanes: why they are slow, and directives for them."
    ),
    "queues": CommandPlace("api.queues", "Queues of the broker, and what to do with dead letters."),
}


def load(name: str) -> click.Command:
    """Import a subcommand; it has its own name in its module."""
    command: click.Command = getattr(
        import_module(f"postroad_cli.{SUBCOMMANDS[name].module}"), name
    )
    return command


class Subcommands(click.Group):
    """The group of all subcommands."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in SUBCOMMANDS else None

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.help) for name, place in SUBCOMMANDS.items()])
