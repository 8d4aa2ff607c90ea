"""The REST API: one module for each noun, with its routes and the shapes that go in and out."""

from fastapi import APIRouter

from postroad_ingress_http.api import (
    accounts,
    addresses,
    archive,
    audit,
    credentials,
    dns,
    domains,
    events,
    feeds,
    hookcalls,
    lanes,
    logfiles,
    messages,
    originaldomains,
    originalevents,
    originalothers,
    queues,
    resend,
    send,
    stats,
    suppressions,
    templates,
    tokens,
    users,
    webhooks,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    noun.router
    for noun in (
        send,
        resend,
        messages,
        events,
        originalevents,
        templates,
        credentials,
        tokens,
        suppressions,
        webhooks,
        hookcalls,
        domains,
        dns,
        lanes,
        queues,
        archive,
        stats,
        logfiles,
        addresses,
        feeds,
        accounts,
        users,
        audit,
        originaldomains,
        originalothers,
    )
)
