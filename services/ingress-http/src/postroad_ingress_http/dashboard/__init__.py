"""The dashboard: pages rendered on the server, which work with the keyboard and without scripts."""

from fastapi import APIRouter

from postroad_ingress_http.dashboard import (
    domains,
    feeds,
    lanes,
    logins,
    mail,
    overview,
    queues,
    reference,
    signin,
    suppressions,
    tokens,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    pages.router
    for pages in (
        signin,
        overview,
        mail,
        suppressions,
        feeds,
        logins,
        tokens,
        webhooks,
        domains,
        lanes,
        queues,
        reference,
    )
)
