"""Destinations: what has to be known to send to a domain. Made of its route and of DNS."""

from dataclasses import dataclass

from postroad_sender.addresses import literal
from postroad_sender.lane import LaneKey
from postroad_sender.resolver import MxHost, Resolver
from postroad_sender.routes import Route, Routes
from postroad_sender.site import site_name


@dataclass(frozen=True, slots=True)
class Destination:
    """The hosts of one site and how to talk to them."""

    key: LaneKey
    route: Route
    hosts: tuple[MxHost, ...]
    port: int

    @property
    def is_named_by_route(self) -> bool:
        """Whether the operator chose the host: then any address is allowed."""
        return self.route.host is not None


class Destinations:
    """Finds the destination of a domain."""

    def __init__(self, routes: Routes, resolver: Resolver) -> None:
        self._routes = routes
        self._resolver = resolver
        self._fixed: dict[tuple[str, int, str], Destination] = {}

    def known(self, domain: str) -> Destination | None:
        """The destination, if no question to DNS is needed for it."""
        route = self._routes.find(domain)
        if route.host is None:
            return None
        key = (route.host, route.port, route.domain)
        found = self._fixed.get(key)
        if found is None:
            lane = LaneKey(route.source or "", f"{route.host}:{route.port}")
            found = Destination(lane, route, (MxHost(0, route.host),), route.port)
            self._fixed[key] = found
        return found

    async def find(self, domain: str) -> Destination:
        """The destination of `domain`.

        Raises:
            WireError: stage ROUTE, as `Resolver.mail_hosts`.
        """
        known = self.known(domain)
        if known is not None:
            return known
        route = self._routes.find(domain)
        address = literal(domain)
        if address is not None:
            hosts: tuple[MxHost, ...] = (MxHost(0, address),)
        else:
            hosts = await self._resolver.mail_hosts(domain)
        site = site_name(host.name for host in hosts)
        if route.port != 25:
            site = f"{site}:{route.port}"
        return Destination(LaneKey(route.source or "", site), route, hosts, route.port)
