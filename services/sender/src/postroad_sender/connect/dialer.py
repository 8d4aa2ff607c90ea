"""Opening sessions to a destination: its hosts in order, their addresses, TLS as required.

Hosts that the requirement (`tls.requirement`) forbids are passed over. Where TLS is only wished for
and fails, the same address is tried again without, and remembered for a while; so it is with a
certificate that need not be good. Addresses that did not answer lately, or talked and did not take
mail, come last.
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from postroad_common.caching import Cache
from postroad_sender.connect.destination import Destination
from postroad_sender.dns.resolver import Resolver, in_order
from postroad_sender.limits.address_limits import AddressLimit, AddressLimits
from postroad_sender.throttle.signals import Signal, classify
from postroad_sender.tls.plan import HostTlsa, TlsPlan, check_for, completed, host_tlsa_of, plans
from postroad_sender.tls.records import PolicyLookups
from postroad_sender.tls.requirement import TlsRequirement
from postroad_smtp.client.connection import Connection
from postroad_smtp.client.conversation import MOST_OPENING, bounded, clean
from postroad_smtp.client.session import (
    NOT_OFFERED,
    ClientSession,
    SmarthostLogin,
    Timeouts,
    TlsWish,
    open_session,
)
from postroad_smtp.client.stage import Fault, Stage, WireError

MOST_TRIES = 5  # addresses for one session
MOST_FOUND = 20  # addresses to choose them from
SILENT_FOR = 60.0  # seconds that an address which did not answer comes last
USELESS_FOR = 300.0  # seconds that an address which talked and did not take mail comes last
PLAIN_FOR = 600.0  # seconds without TLS after it failed
UNPROVEN_FOR = 60.0  # seconds in which a certificate that was not good is not asked to be
ONE_BY_ONE_FOR = 3600.0  # seconds in which commands are not pipelined, after replies out of step
OPENING_LONGEST = 300.0  # seconds for one session, after which no further address is tried
WITHOUT_FOR = 3600.0  # seconds in which extensions whose parameters were refused are not used
_MEMORY = 10_000  # addresses
_NO_ROOM = frozenset({Signal.CONNECTIONS, Signal.BUSY, Signal.RATE})


class AddressesFullError(WireError):
    """Each address has as many connections as it may; the `limits` tell when it has fewer.

    `was_refused`: that was learnt from a server just now.
    """

    def __init__(self, limits: Sequence[AddressLimit], *, was_refused: bool) -> None:
        super().__init__(Stage.CONNECT, Fault.LOCAL, limits[0].why())
        self.limits = tuple(limits)
        self.was_refused = was_refused


class _Try(NamedTuple):
    host: str
    address: str
    host_tlsa: HostTlsa
    preference: int


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS contexts, made once: a context is costly, and sessions resume only within one."""

    lax: ssl.SSLContext
    strict: ssl.SSLContext

    @classmethod
    def make(cls) -> "Contexts":
        """Contexts for opportunistic TLS, which checks nothing, and for checked certificates."""
        lax = ssl.create_default_context()
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        strict = ssl.create_default_context()
        strict.hostname_checks_common_name = False  # RFC 8461 section 4.2
        return cls(lax=lax, strict=strict)


class Dialer:
    """Opens sessions. `hostname` is what EHLO says."""

    def __init__(
        self,
        resolver: Resolver,
        hostname: str,
        contexts: Contexts,
        *,
        records: PolicyLookups | None = None,
        timeouts: Timeouts | None = None,
        limits: AddressLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._records = records
        self._resolver = resolver
        self._hostname = hostname
        self._contexts = contexts
        self._timeouts = timeouts or Timeouts()
        self._clock = clock

        def recently(seconds: float) -> Cache[str, None]:
            return Cache(_MEMORY, seconds=seconds, clock=clock)

        self._silent = recently(SILENT_FOR)
        self._useless = recently(USELESS_FOR)
        self._plain = recently(PLAIN_FOR)
        self._unproven = recently(UNPROVEN_FOR)
        self._one_by_one = recently(ONE_BY_ONE_FOR)
        self._refused: Cache[str, frozenset[str]] = Cache(_MEMORY, seconds=WITHOUT_FOR, clock=clock)

    async def open(
        self,
        destination: Destination,
        requirement: TlsRequirement | None = None,
        *,
        thorough: bool = False,
        tried: Mapping[str, str] | None = None,
    ) -> ClientSession:
        """Open a session with the first host that is ready to talk and meets `requirement`.

        Without a requirement, the destination's holds. A `thorough` session proves more if it can,
        so that it may carry mail with other requirements. Addresses that were `tried` (with their
        hosts) are left out, and other addresses of these hosts come last.

        Raises:
            AddressesFullError: those that come first have as many connections as they may.
            WireError: none is; what the most telling of them said. It has a `policy` if that is
                (also) because of the requirement, and says nothing about the site then.
        """
        requirement = requirement or destination.requirement
        errors: list[WireError] = []
        full: list[AddressLimit] = []
        worst_full, was_refused = 0, False
        candidates = await self._candidates(
            destination, requirement, errors, thorough=thorough, tried=tried or {}
        )
        told = [f"# {clean(error.detail)}" for error in errors]
        ends = self._clock() + OPENING_LONGEST
        for number, chosen in enumerate(candidates):
            if number and self._clock() >= ends:
                told.append(f"# {len(candidates) - number} more not tried: it took too long")
                break
            if full and chosen.preference > worst_full:
                continue  # what has no room is better than a host that stands in for it
            limit = self._limit(destination, chosen.address)
            place = None if limit is None else limit.take(destination.key)
            if limit is not None and place is None:
                full.append(limit)
                worst_full = max(worst_full, chosen.preference)
                continue
            try:
                session = await self._open(
                    destination, chosen, requirement, told=told, thorough=thorough
                )
            except WireError as error:
                if place is not None and _is_no_room(error) and place.refused():
                    full.append(place.limit)
                    worst_full, was_refused = max(worst_full, chosen.preference), True
                    continue
                if error.fault is Fault.TIMEOUT:
                    self._silent.put(chosen.address, None)
                told.append(error.said or f"# {chosen.host}: {clean(error.detail)}")
                errors.append(error)
            else:
                if place is not None:
                    place.opened()
                    session.place, place = place, None
                session.opening = bounded("\n".join([*told, session.opening]), MOST_OPENING)
                return session
            finally:
                if place is not None:
                    place.give_back()
        if full:
            raise AddressesFullError(full, was_refused=was_refused)
        if not errors:
            errors.append(WireError(Stage.ROUTE, Fault.UNREACHABLE, "no other host"))
        telling = _most_telling(errors)
        telling.said = bounded("\n".join(told), MOST_OPENING)
        raise telling

    async def has_another(
        self, destination: Destination, requirement: TlsRequirement, tried: Mapping[str, str]
    ) -> bool:
        """Whether there is an address that was not `tried`."""
        errors: list[WireError] = []
        found = await self._candidates(
            destination, requirement, errors, thorough=False, tried=tried
        )
        return bool(found)

    def note_useless(self, destination: Destination, session: ClientSession) -> None:
        """Remember for some minutes that the server of `session` talks but does not take mail."""
        self._useless.put(f"{session.address} {destination.port}", None)

    def note_out_of_step(self, session: ClientSession) -> None:
        """Pipeline no commands to the server of `session` for an hour: it cannot answer them."""
        self._one_by_one.put(session.address, None)

    def note_refused(self, session: ClientSession, extensions: frozenset[str]) -> None:
        """Leave out `extensions` with the server of `session`, on it and for an hour."""
        session.leave_out(extensions)
        known = self._refused.get(session.address) or frozenset()
        self._refused.put(session.address, known | extensions)

    async def _candidates(
        self,
        destination: Destination,
        requirement: TlsRequirement,
        errors: list[WireError],
        *,
        thorough: bool,
        tried: Mapping[str, str],
    ) -> list[_Try]:
        found: list[_Try] = []
        hosts_tried = set(tried.values())
        preferences = {host.name: host.preference for host in destination.hosts}
        good = 0

        def comes_last(chosen: _Try) -> bool:
            return (
                chosen.address in self._silent
                or f"{chosen.address} {destination.port}" in self._useless
                or chosen.host in hosts_tried
            )

        for host in in_order(destination.hosts):
            try:
                addresses = await self._resolver.addresses(
                    host, named_by_route=destination.is_named_by_route
                )
            except WireError as error:
                # that an MX host has no address is somebody's mistake, and may be mended
                fault = error.fault or Fault.DNS
                errors.append(WireError(Stage.ROUTE, fault, error.detail))
                continue
            reached = [address for address in addresses if destination.source.reaches(address)]
            if not reached:
                text = f"{host}: source {destination.source.name} has no address of its family"
                errors.append(WireError(Stage.ROUTE, Fault.UNREACHABLE, text))
                continue
            try:
                host_tlsa = await host_tlsa_of(
                    host, destination.port, requirement, self._records, thorough=thorough
                )
            except WireError as error:
                errors.append(error)
                continue
            new = [
                _Try(host, address, host_tlsa, preferences[host])
                for address in reached
                if address not in tried
            ]
            found += new
            good += sum(not comes_last(one) for one in new)
            if good >= MOST_TRIES or len(found) >= MOST_FOUND:
                break
        found.sort(key=comes_last)
        return found[:MOST_TRIES]

    def _limit(self, destination: Destination, address: str) -> AddressLimit | None:
        """Return the limit for connections to `address`; hosts of routes have their own."""
        if self._limits is None or destination.is_named_by_route:
            return None
        return self._limits.of(destination.source.name, address, destination.port)

    async def _open(
        self,
        destination: Destination,
        chosen: _Try,
        requirement: TlsRequirement,
        *,
        told: list[str],
        thorough: bool,
    ) -> ClientSession:
        name = f"{chosen.host} {chosen.address}"
        unproven, plain = name in self._unproven, chosen.address in self._plain
        ways = plans(
            chosen.host_tlsa, requirement, thorough=thorough, unproven=unproven, plain=plain
        )
        fault = ""
        for plan in ways:
            try:
                session = await self._talk(destination, chosen, requirement, plan)
            except WireError as error:
                if error.stage is not Stage.STARTTLS or error.fault is None or error.policy:
                    raise
                fault = fault or error.detail
                if plan.strict:
                    self._unproven.put(name, None)
                elif plan.wish is TlsWish.OPPORTUNISTIC:
                    self._plain.put(chosen.address, None)
                if plan is ways[-1]:
                    definite = error.detail == NOT_OFFERED
                    kind = requirement.strictest(chosen.host_tlsa.dane)
                    refusal = requirement.refusal(kind, error.detail, definite=definite)
                    refusal.said = error.said
                    raise refusal from error
                told.append(error.said)
            else:
                break
        if unproven:
            fault = fault or "the certificate was not good lately"
        session.evidence = completed(session, chosen.host_tlsa, fault)
        lack = requirement.lack(session)
        if lack is not None:
            refusal = requirement.refusal(*lack, definite=True)
            refusal.said = f"{session.opening}\n# {clean(lack[1])}"
            session.quit()
            raise refusal
        return session

    async def _talk(
        self, destination: Destination, chosen: _Try, requirement: TlsRequirement, plan: TlsPlan
    ) -> ClientSession:
        route = destination.route
        context = None
        if plan.wish is not TlsWish.NONE:
            context = self._contexts.strict if plan.strict else self._contexts.lax
        login = None
        if route.username is not None and route.password is not None:
            login = SmarthostLogin(route.username, route.password)
        source = destination.source
        local = source.address_for(chosen.address)
        connection = await self._connect(chosen.address, destination.port, local)
        session = await open_session(
            connection,
            host=chosen.host,
            hostname=source.ehlo or self._hostname,
            tls=plan.wish,
            context=context,
            login=login,
            timeouts=self._timeouts,
            pipelining=route.pipelining and chosen.address not in self._one_by_one,
            check=check_for(chosen.host_tlsa, requirement),
        )
        session.leave_out(self._refused.get(session.address) or ())
        return session

    async def _connect(self, address: str, port: int, source: str | None) -> Connection:
        loop = asyncio.get_running_loop()
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            async with asyncio.timeout(self._timeouts.connect):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._timeouts.greeting),
                    address,
                    port,
                    local_addr=(source, 0) if source else None,
                )
        except ConnectionRefusedError as error:
            text = f"connection to {where} refused"
            raise WireError(Stage.CONNECT, Fault.REFUSED, text) from error
        except TimeoutError as error:
            text = f"connection to {where} timed out"
            raise WireError(Stage.CONNECT, Fault.TIMEOUT, text) from error
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, type(error).__name__)
            text = f"connection to {where} failed: {name}"
            raise WireError(Stage.CONNECT, Fault.UNREACHABLE, text) from error
        return connection


def _is_no_room(error: WireError) -> bool:
    """Whether the server may have refused a connection because it has enough of them."""
    if error.policy is not None:
        return False
    if error.reply is not None:
        return classify(error.reply, error.stage) in _NO_ROOM
    return error.fault in (Fault.REFUSED, Fault.DROPPED)


def _most_telling(errors: list[WireError]) -> WireError:
    """Return the error that stands for all. It has a policy if one of them has.

    A policy tells more than a reply, a reply more than silence, and the first host more than the
    fallbacks. But what is final is so only if it is for all hosts.
    """
    forbidden = [error for error in errors if error.policy is not None]
    if not forbidden:
        return next((error for error in errors if error.reply is not None), errors[0])
    found = next((error for error in forbidden if error.reply is None), None)
    found = found or next((error for error in errors if error.policy is None), forbidden[0])
    found.policy = found.policy or forbidden[0].policy
    return found
