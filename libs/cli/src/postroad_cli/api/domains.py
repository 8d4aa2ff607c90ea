"""`postroad domains`: sender domains, with their DNS records and DKIM keys."""

from typing import Any

import click

from postroad_cli.api.deployment import with_api
from postroad_cli.api.nouns import add_delete, add_list, path
from postroad_cli.api.rows import show_rows
from postroad_cli.options import json_option
from postroad_cli.terminal import echo, echo_json
from postroad_stack.rest import RestClient


@click.group()
def domains() -> None:
    """Sender domains: DNS records, DKIM keys."""


add_list(domains, "domains", ("domain", "verified", "created", "checked"))


@domains.command("show")
@click.argument("domain")
@json_option
@with_api
def show_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Show a domain with the DNS records to publish; exit code 1 while it is not verified."""
    _show(api.get(path("domains", domain)), as_json=as_json)


@domains.command("create")
@click.argument("domain")
@click.option("--trusted", is_flag=True, help="Vouch for it, as the operator: needs no DNS.")
@json_option
@with_api
def create_domain(api: RestClient, /, *, domain: str, trusted: bool, as_json: bool) -> None:
    """Add a domain; shows the DNS records to publish."""
    made = api.post(path("domains"), {"domain": domain, "trusted": trusted})
    if as_json:
        echo_json(made)
    else:
        _tell(made)


@domains.command("verify")
@click.argument("domain")
@json_option
@with_api
def verify_domain(api: RestClient, /, *, domain: str, as_json: bool) -> None:
    """Look the records up in the DNS now; exit code 1 unless the domain is verified."""
    _show(api.post(path("domains", domain, "verify")), as_json=as_json)


@domains.command("keys")
@click.argument("domain")
@click.option("--new", is_flag=True, help="Make new keys, which sign once DNS has them.")
@json_option
@with_api
def domain_keys(api: RestClient, /, *, domain: str, new: bool, as_json: bool) -> None:
    """Show the DKIM keys of a domain."""
    found = api.post(path("domains", domain, "keys")) if new else api.get(path("domains", domain))
    show_rows(found["keys"], ("selector", "algorithm", "state", "created", "seen"), as_json=as_json)


@domains.command("zone")
@click.argument("domain")
@with_api
def domain_zone(api: RestClient, /, *, domain: str) -> None:
    """Print the records to publish as a zone file."""
    echo(api.get(path("domains", domain, "zone")).rstrip())


def _show(domain: dict[str, Any], *, as_json: bool) -> None:
    """Print the domain; end with exit code 1 if it is not verified."""
    if as_json:
        echo_json(domain)
    else:
        _tell(domain)
    if not domain["verified"]:
        raise click.exceptions.Exit(1)


def _tell(domain: dict[str, Any]) -> None:
    """Print the records one under the other, each part on a line of its own for copying."""
    state = "verified" if domain["verified"] else "not verified"
    echo(f"{domain['domain']}: {state}", bold=True)
    for record in domain["records"]:
        status = record.get("status") or "not checked"
        colour = "green" if status == "ok" else "yellow"
        echo()
        echo(f"{record['purpose']}: {status}", fg=colour)
        priority = "" if record["priority"] is None else f"{record['priority']} "
        for name in ("type", "name"):
            echo(f"  {name:<5}  {record[name]}")
        echo(f"  value  {priority}{record['value']}")
        for found in record.get("found") or ():
            if status != "ok":
                echo(f"  found  {found}", dim=True)


add_delete(domains, "domains", "DOMAIN")
