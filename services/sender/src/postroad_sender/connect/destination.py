"""Destinations: what has to be known to send to a domain. Made of its route and of DNS."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass, replace
from urllib.parse import quote

from postroad_common.mail.address import AddressError, normalise_domain
from postroad_common.schemas.lanes import RedirectDirective
from postroad_sender.connect.lane_key import LaneKey
from postroad_sender.dns.addresses import literal
from postroad_sender.dns.resolver import MxHost, Resolver
from postroad_sender.dns.site import site_name
from postroad_sender.routes.providers import Providers
from postroad_sender.routes.routes import Route, Routes
from postroad_sender.routes.sources import SYSTEM, Source, Sources
from postroad_sender.tls.policies import Known, StsPolicies
from postroad_sender.tls.requirement import TlsRequirement
from postroad_smtp.client.session import TlsWish

MAX_LOGIN = 80  # characters of a login in the name of a site


@dataclass(frozen=True, slots=True)
class Destination:
    """The hosts of one site and how to talk to them.

    `asked` is what the domain itself asks of TLS there, which its neighbours on the site may not.
    `sources` are those that mail may go out from, `source` the one of this lane. `provider` is who
    runs the hosts, if that is known.
    """

    key: LaneKey
    route: Route
    hosts: tuple[MxHost, ...]
    port: int
    asked: TlsRequirement | None = None
    provider: str = ""
    sources: tuple[Source, ...] = (SYSTEM,)
    source: Source = SYSTEM

    def via(self, source: Source) -> "Destination":
        """Return the same from `source`, one of its `sources`."""
        if source is self.source:
            return self
        return replace(self, key=LaneKey(source.name, self.key.site), source=source)

    @property
    def requirement(self) -> TlsRequirement:
        """What TLS has to be for mail to the domain."""
        return self.asked or TlsRequirement.of_route(self.route)

    @property
    def is_named_by_route(self) -> bool:
        """Whether the operator chose the host: then any address is allowed."""
        return self.route.host is not None

    def redirected(self, to: RedirectDirective | None) -> "Destination":
        """Return the same by other hosts; a login is shown to the route's own host only."""
        if to is None:
            return self
        changes = {"host": to.host, "port": to.port, "tls": TlsWish(to.tls)}
        login = {"username": None, "password": None, "verify": None}
        route = self.route.model_copy(update=changes | login)
        return replace(self, route=route, hosts=(MxHost(0, to.host),), port=to.port, asked=None)


def _login_in_site(route: Route) -> str:
    """Return what tells apart the lanes of routes that log in as different users at one host.

    A connection belongs to whoever has logged in on it: mail of another route must not use it.
    """
    if route.username is None:
        return ""
    name = quote(route.username, safe="@+=")
    if len(name) > MAX_LOGIN:
        name = name[:32] + "~" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name}@"


class Destinations:
    """Finds the destination of a domain."""

    def __init__(
        self,
        routes: Routes,
        resolver: Resolver,
        policies: StsPolicies | None = None,
        *,
        sources: Sources | None = None,
        providers: Providers | None = None,
    ) -> None:
        self._policies = policies
        self._sources = sources or Sources()
        self._providers = providers or Providers()
        self._routes = routes
        self._resolver = resolver
        self._fixed: dict[tuple[str, str], Destination] = {}

    def known(self, domain: str) -> Destination | None:
        """Return the destination, if no question to DNS is needed for it."""
        route = self._routes.find(domain)
        if route.host is None:
            return None
        site = f"{_login_in_site(route)}{route.host}:{route.port}"
        key = (site, route.domain)
        found = self._fixed.get(key)
        if found is None:
            found = self._made(site, route, (MxHost(0, route.host),), None)
            self._fixed[key] = found
        return found

    async def find(self, domain: str) -> Destination:
        """Return the destination of `domain`.

        Raises:
            WireError: stage ROUTE, as `Resolver.mail_hosts`.
        """
        known = self.known(domain)
        if known is not None:
            return known
        route = self._routes.find(domain)
        address = literal(domain)
        asked = None
        if address is not None:
            hosts: tuple[MxHost, ...] = (MxHost(0, address),)
        elif route.policy and route.tls is not TlsWish.NONE:
            hosts, asked = await self._by_policy(domain, TlsRequirement.of_route(route))
        else:
            hosts = await self._resolver.mail_hosts(domain)
        site = site_name(host.name for host in hosts)
        if route.port != 25:
            site = f"{site}:{route.port}"
        return self._made(site, route, hosts, asked)

    def _made(
        self, site: str, route: Route, hosts: tuple[MxHost, ...], asked: TlsRequirement | None
    ) -> Destination:
        sources = self._sources.of_route(route)
        return Destination(
            LaneKey(sources[0].name, site),
            route,
            hosts,
            route.port,
            asked,
            provider=self._providers.of_hosts(host.name for host in hosts),
            sources=sources,
            source=sources[0],
        )

    async def _by_policy(
        self, domain: str, requirement: TlsRequirement
    ) -> tuple[tuple[MxHost, ...], TlsRequirement]:
        """Return the hosts of `domain`, and `requirement` with what the domain asks."""
        with contextlib.suppress(AddressError):  # such a name has no hosts either
            domain = normalise_domain(domain)
        asking = None
        if self._policies is not None:
            asking = asyncio.create_task(self._policies.find(domain))
        try:
            found = await self._resolver.find_mail_hosts(domain)
            known = Known(None) if asking is None else await asking
        finally:
            if asking is not None:
                asking.cancel()
        dane = domain if found.secure else ""
        return found.hosts, requirement.of_domain(dane, known.policy, doubt=known.doubt)
