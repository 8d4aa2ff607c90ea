"""The objects that the handlers of the API and of the dashboard work with; `main` builds them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time

from postroad_common.broker.deadletters import DeadLetters
from postroad_common.broker.depths import QueueDepths
from postroad_common.health import Health
from postroad_common.store import Database
from postroad_ingress_http.authentication import Authenticator
from postroad_ingress_http.dnscheck import DnsChecker
from postroad_ingress_http.dnsrecords import DnsRules
from postroad_ingress_http.handover import Handover
from postroad_ingress_http.limits import Limits
from postroad_ingress_http.submission import SubmissionRules


@dataclass(frozen=True, slots=True)
class Parts:
    """What a handler may use."""

    database: Database
    health: Health
    authenticator: Authenticator
    handover: Handover
    depths: QueueDepths
    dead_letters: DeadLetters
    dns: DnsChecker
    dns_rules: DnsRules
    rules: SubmissionRules
    limits: Limits
    clock: Callable[[], float] = field(default=time)
