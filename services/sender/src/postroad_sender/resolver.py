"""Where DNS says that mail for a domain goes (RFC 5321 section 5.1, RFC 7505).

Answers are kept for their TTL within bounds, failures for a shorter time. No answer is never a
reason to give up: only a definite one is.
"""

import asyncio
import ipaddress
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from postroad_common.mail.reply import Reply
from postroad_sender.addresses import is_public
from postroad_sender.stage import Stage, Trouble, WireError

LIFETIME = 10.0  # seconds for one question, repetitions included
TTL_LEAST, TTL_MOST = 5.0, 3600.0
TTL_NEGATIVE = 60.0
TTL_FAILURE = 10.0
CACHE_ENTRIES = 20_000
MOST_HOSTS = 20
MOST_ADDRESSES = 8

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class MxHost:
    """A host that takes mail; the lowest `preference` is tried first."""

    preference: int
    name: str


class _Cache(Generic[V]):
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, V | WireError]] = OrderedDict()

    def get(self, key: str) -> V | WireError | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._clock():
            del self._kept[key]
            return None
        return found[1]

    def put(self, key: str, value: V | WireError, seconds: float) -> None:
        self._kept[key] = (self._clock() + seconds, value)
        self._kept.move_to_end(key)
        if len(self._kept) > CACHE_ENTRIES:
            self._kept.popitem(last=False)


class Resolver:
    """Asks the system's resolvers, or the one at `server` (`host:port`)."""

    def __init__(
        self,
        server: str | None,
        hostname: str,
        *,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if server is None:
            self._dns = dns.asyncresolver.Resolver()
        else:
            host, _, port = server.rpartition(":")
            self._dns = dns.asyncresolver.Resolver(configure=False)
            self._dns.nameservers = [host.strip("[]")]
            self._dns.port = int(port)
        self._dns.lifetime = lifetime
        self._hostname = hostname.rstrip(".").lower()
        self._mx: _Cache[tuple[MxHost, ...]] = _Cache(clock)
        self._addresses: _Cache[tuple[str, ...]] = _Cache(clock)

    async def mail_hosts(self, domain: str) -> tuple[MxHost, ...]:
        """The hosts that take mail for `domain`, by preference; the domain itself without MX.

        Raises:
            WireError: stage ROUTE; with a 5yz reply where the answer is definite.
        """
        kept = self._mx.get(domain)
        if kept is None:
            try:
                hosts, ttl = await self._ask_mx(domain)
            except WireError as error:
                self._mx.put(domain, error, TTL_NEGATIVE if error.reply else TTL_FAILURE)
                raise
            self._mx.put(domain, hosts, ttl)
            return hosts
        if isinstance(kept, WireError):
            raise WireError(kept.stage, kept.reply or kept.trouble or Trouble.DNS, kept.detail)
        return kept

    async def addresses(self, host: str, *, named_by_route: bool = False) -> tuple[str, ...]:
        """The addresses of `host`, IPv6 first. Only public ones unless a route names the host.

        Raises:
            WireError: there are none that may be used, or no answer came.
        """
        try:
            found: tuple[str, ...] = (str(ipaddress.ip_address(host)),)
        except ValueError:
            found = await self._kept_addresses(host)
        if named_by_route:
            return found
        allowed = tuple(address for address in found if is_public(address))
        if not allowed:
            text = f"{host} has only addresses that mail is not sent to ({found[0]})"
            raise WireError(Stage.ROUTE, Trouble.UNREACHABLE, text)
        return allowed

    async def _kept_addresses(self, host: str) -> tuple[str, ...]:
        kept = self._addresses.get(host)
        if kept is None:
            try:
                found, ttl = await self._ask_addresses(host)
            except WireError as error:
                self._addresses.put(host, error, TTL_NEGATIVE if error.reply else TTL_FAILURE)
                raise
            self._addresses.put(host, found, ttl)
            return found
        if isinstance(kept, WireError):
            raise WireError(kept.stage, kept.reply or kept.trouble or Trouble.DNS, kept.detail)
        return kept

    async def _ask_mx(self, domain: str) -> tuple[tuple[MxHost, ...], float]:
        answer = await self._ask(domain, "MX")
        if answer is None or not answer.rrset:
            # no MX: the domain itself is the host, if it is one (RFC 5321 section 5.1)
            _, ttl = await self._ask_addresses(domain)
            return (MxHost(0, domain),), ttl
        hosts = [
            MxHost(record.preference, record.exchange.to_text(omit_final_dot=True).lower())
            for record in answer
        ]
        if [host.name for host in hosts] == ["."]:
            raise WireError(Stage.ROUTE, Reply(556, "5.1.10", f"{domain} takes no mail (null MX)"))
        hosts = [host for host in hosts if host.name != "."]
        ours = [host.preference for host in hosts if host.name == self._hostname]
        if ours:
            hosts = [host for host in hosts if host.preference < min(ours)]
        if not hosts:
            text = f"mail for {domain} loops back to {self._hostname}"
            raise WireError(Stage.ROUTE, Reply(554, "5.4.6", text))
        hosts.sort(key=lambda host: (host.preference, host.name))
        return tuple(hosts[:MOST_HOSTS]), _ttl(answer)

    async def _ask_addresses(self, host: str) -> tuple[tuple[str, ...], float]:
        six, four = await asyncio.gather(
            self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True
        )
        found = []
        ttl = TTL_MOST
        for answer in (six, four):
            if isinstance(answer, dns.resolver.Answer):
                found += [record.address for record in answer]
                ttl = min(ttl, _ttl(answer))
        if found:
            return tuple(found[:MOST_ADDRESSES]), ttl
        for answer in (six, four):
            if isinstance(answer, BaseException):
                raise answer
        raise WireError(Stage.ROUTE, Reply(550, "5.1.2", f"{host} has neither MX nor address"))

    async def _ask(self, name: str, kind: str) -> "dns.resolver.Answer | None":
        """The answer, or None where the name exists without such records."""
        try:
            answer = await self._dns.resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            text = f"the domain {name} does not exist"
            raise WireError(Stage.ROUTE, Reply(550, "5.1.2", text)) from error
        except dns.resolver.NoNameservers as error:
            text = f"no name server answers for {name} ({kind})"
            raise WireError(Stage.ROUTE, Trouble.DNS, text) from error
        except dns.exception.Timeout as error:
            text = f"the look-up of {name} ({kind}) took too long"
            raise WireError(Stage.ROUTE, Trouble.DNS, text) from error
        except (dns.exception.DNSException, UnicodeError, ValueError, OSError) as error:
            text = f"the look-up of {name} ({kind}) failed: {type(error).__name__}"
            raise WireError(Stage.ROUTE, Trouble.DNS, text) from error
        return answer if answer.rrset else None


def _ttl(answer: "dns.resolver.Answer") -> float:
    seconds = float(answer.rrset.ttl) if answer.rrset else TTL_LEAST
    return max(TTL_LEAST, min(TTL_MOST, seconds))


def in_order(hosts: tuple[MxHost, ...], dice: random.Random | None = None) -> list[str]:
    """The names of `hosts` by preference, those of equal preference in random order."""
    shuffle = (dice or random).random
    return [host.name for host in sorted(hosts, key=lambda host: (host.preference, shuffle()))]
