"""Which pages and calls the bench of pages asks for, and the few things that they need beside mail.

Each way to read is there, but for those in `NOT_MEASURED`.
"""

import base64
import time
from collections.abc import Mapping
from urllib.parse import quote

from postroad_stack.document import StackDocument
from postroad_stack.rest import Json, RestClient

_DAY = 86_400
_SOMEBODY = "r77@d77.example"
_JOB: Json = {"act": "suppress", "search": {"recipient": _SOMEBODY}, "confirm": 20}
_NO_SESSION = "a form for those who are not logged in, which reads nothing"
_CONTENT = "one mail by its id, of which the bench keeps no content"
NOT_MEASURED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("/dashboard/login", "/dashboard/login/oidc", "/dashboard/login/oidc/back"),
            *("/dashboard/join", "/dashboard/reset", "/dashboard/forgot"),
        ),
        _NO_SESSION,
    ),
    **dict.fromkeys(
        (
            *(
                "/dashboard/messages/{message_id}/preview",
                "/dashboard/messages/{message_id}/source",
            ),
            "/dashboard/messages/{message_id}/{kind}/{number}",
            *(
                f"/v1/messages/{{message_id}}/{part}"
                for part in (
                    "content",
                    "source",
                    "headers",
                    "text",
                    "html",
                    "attachments",
                    "embeds",
                    "attachments/{file:path}",
                    "embeds/{file:path}",
                )
            ),
            *(
                f"/v1/{part}/{{message_id}}"
                for part in ("headers", "header", "text", "html", "attachments", "embeds")
            ),
            *(f"/v1/{part}/{{message_id}}/{{file:path}}" for part in ("attachments", "embeds")),
        ),
        _CONTENT,
    ),
    "/dashboard/feeds/{owner}/{report}": "one report by its id",
    "/v1/feeds/reports/{report}": "one report by its id",
    "/v1/scheduled/{scheduled_id}": "one mail by its id",
    "/dashboard/profile/factor/new": "what an act before it has left, else a redirect",
    "/dashboard/suppressions/imported": "what an act before it has left, else a redirect",
    "/dashboard/suppressions/export": "a file of any length",
    "/v1/suppressions/export": "a file of any length",
    "/dashboard/smtp-ca.pem": "a file that not every installation has",
}
"""Routes by what keeps them out."""
DASHBOARD = (
    "", "?period=week", "?period=month", "?period=quarter", "/stats?period=year",
    "/stats?period=year&parts=login&of=provider:provider3", "/stats?period=year&parts=tag",
    "/stats?period=week&by=hour&parts=domain&of=login:login3",
    "/stats?period=week&by=hour&parts=tag&of=tag:t3",
    "?period=month&of=provider:provider3", "/messages",
    "/messages?recipient=r77@d77.example", "/messages?recipient=@d7.example",
    "/messages?subject=4711", "/messages?subject=order&state=failed", "/messages?state=failed",
    "/messages?state=deferred", "/messages?login=login3", "/messages?tag=t2",
    "/messages?login=login3&tag=t4", "/messages?recipient=@d7.example&tag=t2",
    "/messages?login=login3&opened=true&tag=t4", "/messages?subject=4711&login=login0",
    "/messages?subject=your order&login=login3&tag=t9",
    "/messages?state=delivered&login=login1&tag=t2", "/messages?state=failed&login=login3",
    "/messages?state=deferred&tag=t2&opened=true", "/messages?source=dsn",
    "/messages?opened=true", "/messages?clicked=true",
    "/messages?complained=true", "/messages?start={day}&end={day}",
    "/messages?tag=t2&end={first_day}", "/messages?recipient=@none.example", "/messages/{id}",
    "/bounces", "/bounces?severity=hard", "/bounces?class=virus", "/jobs",
    "/jobs/new?act=suppress&state=failed", "/jobs/new?act=suppress&login=login3",
    "/jobs/new?act=suppress&login=login3&tag=t4", "/start", "/templates",
    "/suppressions", "/suppressions?q=s77", "/feeds", "/logins", "/tokens", "/webhooks",
    "/webhooks/{hook}", "/webhooks/{hook}?state=failed", "/domains", "/users", "/audit",
    "/accounts", "/lanes", "/lanes?site=d77.", "/lanes?phase=closed", "/queues",
    "/webhooks/{hook}/deliveries/{delivery}",
    "/domains/{domain}", "/domains/{domain}/zone", "/feeds/deployment", "/jobs/{job}",
    "/lanes/one?key={lane}", "/logins/new", "/logins/{login}", "/templates/new",
    "/templates/{template}", "/templates/{template}/changes", "/profile",
    "/queues/{queue}", "/account", "/secret",
    "/messages/export?recipient=@d7.example",
)  # fmt: skip
"""Below `/dashboard`."""
REST = (
    "/v1/messages", "/v1/messages?recipient=@d7.example&state=delivered",
    "/v1/messages?subject=order&start={hour}", "/v1/messages/{id}", "/v1/stats",
    "/v1/messages?login=login3&tag=t4", "/v1/jobs/count?state=failed",
    "/v1/stats?by=provider&step=hour", "/v1/stats?by=tag&step=hour", "/v1/stats?by=login",
    "/v1/events?limit=100", "/v1/events?message={id}",
    "/v1/stats/tags", "/v1/stats/t3", "/v1/tag/t3", "/v1/recent-tags", "/v1/stats?by=tag",
    "/v1/stats?by=login&step=hour", "/v1/stats?by=domain&step=week&start={year_ago}",
    "/v1/stats?tag=t3&step=hour", "/v1/accounts", "/v1/accounts/main", "/v1/account",
    "/v1/addresses/r77@d77.example", "/v1/recipient/{id}", "/v1/envelope/{id}", "/v1/audit",
    "/v1/credentials", "/v1/credentials/{login}", "/v1/installation/dns", "/v1/domains",
    "/v1/domains/{domain}", "/v1/domains/{domain}/zone", "/v1/feeds", "/v1/feeds/reports",
    "/v1/webhooks/{hook}/deliveries", "/v1/webhooks/{hook}/deliveries/{delivery}",
    "/v1/webhooks/{hook}/replays", "/v1/jobs", "/v1/jobs/{job}", "/v1/jobs/{job}/messages",
    "/v1/lanes", "/v1/lanes/{lane}", "/v1/logfiles", "/v1/logfiles/bounces.{day}.log",
    "/v1/logfiles/bounces.{day}.log/json", "/v1/messages/export?recipient=@d7.example",
    "/v1/datarequest/{request}/status", "/v1/datarequest/{request}", "/v1/domain/{domain}",
    "/v1/dns/{domain}/recommended", "/v1/dns/{domain}/selfhosted", "/v1/dns/{domain}/status",
    "/v1/dkimkeys", "/v1/dkimkeys/{domain}", "/v1/dkimkey/{domain}", "/v1/dmarc",
    "/v1/dkimkeys/{domain}/{selector}", "/v1/dkimkey/{domain}/publickey", "/v1/feedbackloops",
    "/v1/spf/{domain}", "/v1/events/messageid/{id}", "/v1/events/email/r77@d77.example",
    "/v1/events/tags/none", "/v1/events/template/{template}", "/v1/templates/0/10",
    "/v1/template/{template}", "/v1/template/{template}/html", "/v1/queues", "/v1/queues/{queue}",
    "/v1/queues/{queue}/messages", "/v1/scheduled", "/v1/suppressions",
    "/v1/suppressions?address=s77",
    "/v1/suppressions/s77@d77.example", "/v1/templates", "/v1/templates/{template}",
    "/v1/templates/{template}/versions", "/v1/templates/{template}/versions/1", "/v1/tokens",
    "/v1/users", "/v1/users/{user}", "/v1/webhooks", "/v1/webhooks/{hook}", "/openapi.json",
    "/docs",
)  # fmt: skip


def names_of(document: StackDocument, found: Mapping[str, str]) -> dict[str, str]:
    """Make what is not there yet; return what stands for the names in the paths."""
    assert document.http is not None  # noqa: S101 - it was started
    assert document.dashboard is not None  # noqa: S101 - the same
    api = RestClient(document.http, document.token or "")
    now = time.time()
    deliveries = api.get(f"/v1/webhooks/{found['hook']}/deliveries")["items"]
    dead = [queue["name"] for queue in _all(api, "queues") if "dead" in queue["name"]]
    domain = _one(api, "domains", {"domain": "bench.example", "trusted": True})["domain"]
    return {
        **found,
        "day": _date(now),
        "first_day": _date(now - 29 * _DAY),
        "year_ago": _date(now - 364 * _DAY),
        "hour": f"{now - 3600:.0f}",
        "delivery": deliveries[0]["id"],
        "queue": dead[0],
        "lane": quote(_all(api, "lanes")[0]["key"], safe=""),
        "user": document.dashboard.email,
        "request": base64.urlsafe_b64encode(_SOMEBODY.encode()).decode().rstrip("="),
        "domain": domain,
        "selector": api.get(f"/v1/dkimkeys/{domain}")[0]["selector"],
        "login": _one(api, "credentials", {"name": "bench"})["username"],
        "template": _one(api, "templates", {"name": "bench", "subject": "x", "html": "<p>x</p>"})[
            "id"
        ],
        "job": _one(api, "jobs", _JOB)["id"],
    }


def _all(api: RestClient, noun: str) -> list[Json]:
    found = api.get(f"/v1/{noun}")
    items: list[Json] = found["items"] if isinstance(found, dict) else found
    return items


def _one(api: RestClient, noun: str, made: Json) -> Json:
    """Return the first of a list; where there is none, one is made."""
    found = _all(api, noun)
    if found:
        return found[0]
    one: Json = api.post(f"/v1/{noun}", made)
    return one


def _date(moment: float) -> str:
    return f"{time.strftime('%Y-%m-%d', time.gmtime(moment))}"
