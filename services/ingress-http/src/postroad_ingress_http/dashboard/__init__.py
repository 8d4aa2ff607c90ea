"""The dashboard: pages rendered on the server, which work with the keyboard and without scripts."""

from starlette.routing import BaseRoute

from postroad_ingress_http.dashboard import (
    access,
    domains,
    hooks,
    lanes,
    logins,
    mail,
    overview,
    queues,
)
from postroad_ingress_http.dashboard.site import Dashboard

__all__ = ["Dashboard", "all_routes"]


def all_routes(dashboard: Dashboard) -> list[BaseRoute]:
    """Everything below `/dashboard`."""
    found = dashboard.routes()
    for module in (overview, mail, logins, access, hooks, domains, lanes, queues):
        found.extend(module.routes(dashboard))
    return found
