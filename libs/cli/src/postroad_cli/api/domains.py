"""`postroad domains`: sender domains, with their DNS records and DKIM keys."""

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, add_show, path
from postroad_cli.api.rows import show_one
from postroad_cli.options import json_option
from postroad_stack.rest import RestClient


@click.group()
def domains() -> None:
    """Sender domains: DNS records, DKIM keys."""


add_list(domains, "domains", ("domain", "verified", "created", "checked"))
add_show(domains, "domains", "DOMAIN")


@domains.command("create")
@click.argument("domain")
@json_option
@with_api
def create_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Add a domain; shows the DNS records to publish."""
    show_one(api.post(path("domains"), {"domain": domain}), as_json=as_json)


@domains.command("verify")
@click.argument("domain")
@json_option
@with_api
def verify_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Look the records up in the DNS now."""
    show_one(api.post(path("domains", domain, "verify")), as_json=as_json)


add_delete(domains, "domains", "DOMAIN")
