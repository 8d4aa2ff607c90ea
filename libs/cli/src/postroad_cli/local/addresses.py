"""Where everything of a stack is, and the logins to it."""

import re

from rich.text import Text

from postroad_cli.terminal import console
from postroad_stack.document import StackDocument

_HIDDEN = "********"
_PASSWORD = re.compile(r"(//[^/@:]*:)[^/@]*@")  # in a URL with a login


def show_addresses(document: StackDocument, *, secrets: bool = True) -> None:
    """Print where everything is, and the logins, on stdout."""
    rows = addresses(document, secrets=secrets)
    width = max(len(name) for name, _ in rows)
    screen = console()
    for name, value in rows:
        screen.print(Text.assemble((f"{name:<{width}}  ", "dim"), value), soft_wrap=True)


def addresses(document: StackDocument, *, secrets: bool) -> list[tuple[str, str]]:
    """Return the addresses and logins of a stack, with their names.

    Args:
        document: the stack.
        secrets: whether passwords and the token are shown, or asterisks in their places.
    """

    def secret(value: str) -> str:
        return value if secrets else _HIDDEN

    def url(value: str) -> str:
        return value if secrets else _PASSWORD.sub(rf"\1{_HIDDEN}@", value)

    rows: list[tuple[str, str]] = []
    if document.dashboard:
        rows += [
            ("dashboard", document.dashboard.url),
            ("  login", f"{document.dashboard.email} / {secret(document.dashboard.password)}"),
        ]
    if document.sink:
        rows += [("mail sink", document.sink.http)]
    if document.smtp and document.smtps:
        rows += [
            ("SMTP submission", f"{document.smtp.host}:{document.smtp.port} (STARTTLS)"),
            ("SMTP over TLS", f"{document.smtps.host}:{document.smtps.port}"),
        ]
    if document.credential:
        rows += [
            ("  login", f"{document.credential.username} / {secret(document.credential.password)}")
        ]
    if document.mx:
        rows += [("returned mail (MX)", f"{document.mx.host}:{document.mx.port}")]
    if document.http:
        rows += [("REST API", f"{document.http}/docs")]
    if document.token:
        rows += [("  token", secret(document.token))]
    if document.tracker:
        rows += [("tracker", document.tracker)]
    if document.prometheus:
        rows += [("Prometheus", document.prometheus)]
    return [
        *rows,
        ("CA certificate", document.ca),
        ("RabbitMQ", url(document.amqp)),
        ("MongoDB", url(document.mongodb)),
    ]
