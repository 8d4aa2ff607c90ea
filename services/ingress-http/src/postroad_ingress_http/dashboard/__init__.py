"""The dashboard: pages rendered on the server, which work with the keyboard and without scripts."""

from fastapi import APIRouter

from postroad_ingress_http.dashboard import (
    accounts,
    audit,
    domains,
    feeds,
    jobs,
    lanes,
    links,
    logins,
    mail,
    mailtemplates,
    message,
    message_acts,
    overview,
    profile,
    queues,
    reference,
    searches,
    secret,
    signin,
    start,
    stats,
    suppressions,
    templatepreview,
    tokens,
    users,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    pages.router
    for pages in (
        signin,
        links,
        profile,
        users,
        accounts,
        audit,
        overview,
        start,
        stats,
        mail,
        message,
        message_acts,
        jobs,
        searches,
        suppressions,
        feeds,
        logins,
        templatepreview,
        mailtemplates,
        tokens,
        webhooks,
        domains,
        lanes,
        queues,
        reference,
        secret,
    )
)
