"""An example of each body, for `/openapi.json`: by the name of its model."""

from collections.abc import Mapping
from typing import Any

_MAIL = {
    "from": "Shop <shop@shop.example>",
    "to": "Ann <ann@example.com>",
    "recipient": "ann@example.com",
    "envelope": "bounces@shop.example",
    "subject": "Your order",
    "html": "<p>It is on its way.</p>",
    "text": "It is on its way.",
    "tags": ["orders"],
    "metadata": {"order": "20417"},
}
_TEMPLATE = {
    "from": "Shop <shop@shop.example>",
    "subject": "Your order {{ number }}",
    "html": "<p>Dear {{ name }}, it is on its way.</p>",
}
_LOGIN = {
    "name": "newsletter",
    "features": {"inlinecss": True, "clicktracking": True},
    "forward_bounces": True,
    "sender_domains": ["shop.example"],
}
_HOOK = {
    "url": "https://shop.example/hooks/mail",
    "events": ["delivered", "bounced", "complained"],
    "batch": {"size": 100, "seconds": 5},
}

EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "AccountChanges": {"suspended": False, "verified_senders_only": True},
    "AccountFields": {"id": "acme", "name": "Acme", "owner": "owner@acme.example"},
    "BatchFields": {"mails": [_MAIL, {**_MAIL, "recipient": "bob@example.com"}]},
    "CredentialChanges": _LOGIN,
    "CredentialUpdate": {**_LOGIN, "disabled": False},
    "DataRequest": {"email": "ann@example.com"},
    "DeadLetterReplay": {"limit": 100},
    "DirectivesChange": {"connections": 4, "reason": "asked for by the receiver"},
    "DomainChanges": {"tracking_host": "clicks.shop.example"},
    "DomainFields": {"domain": "shop.example"},
    "FillFields": {"data": {"name": "Ann", "number": 20417}},
    "ImportFields": {"items": [{"address": "no-more-mail@example.net", "kind": "manual"}]},
    "InvitationFields": {"email": "dev@acme.example", "role": "developer"},
    "JobFields": {"act": "cancel", "search": {"tag": "autumn"}, "confirm": 120},
    "KeyFields": {},
    "MoveFields": {"sendat": "2027-03-01 09:00:00"},
    "OwnAccountChanges": {"name": "Acme"},
    "ReplayFields": {"start": "2026-11-18", "end": "2026-11-21"},
    "ResendFields": {"message": "1k7tttr751srurlpthius"},
    "RoleFields": {"role": "reader"},
    "SendFields": _MAIL,
    "SuppressionFields": {"address": "no-more-mail@example.net", "reason": "asked by telephone"},
    "TemplateChanges": _TEMPLATE,
    "TemplateFields": {"name": "order sent", **_TEMPLATE},
    "TokenFields": {"name": "shop", "scopes": ["send"], "sender_domains": ["shop.example"]},
    "WebhookChanges": {"disabled": False},
    "WebhookFields": _HOOK,
}
