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
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver

from postroad_common.mail.reply import Reply
from postroad_common.publicaddress import is_public_text
from postroad_smtp.client.stage import Fault, Stage, WireError

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


@dataclass(frozen=True, slots=True)
class MailHosts:
    """The hosts that take mail for a domain; whether DNSSEC vouches for that."""

    hosts: tuple[MxHost, ...]
    secure: bool


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a host, and its real `name` if it is an alias."""

    addresses: tuple[str, ...]
    secure: bool
    name: str


@dataclass(frozen=True, slots=True)
class Found:
    """An answer, perhaps without records, and how long it may be kept (seconds)."""

    answer: dns.resolver.Answer
    secure: bool
    ttl: float


class DnsCache(Generic[V]):
    """Answers and failures, each for its time, within bounds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, V | WireError]] = OrderedDict()

    def get(self, key: str) -> V | WireError | None:
        """Return what is kept, unless its time is over."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] <= self._clock():
            del self._kept[key]
            return None
        return found[1]

    def put(self, key: str, value: V | WireError, seconds: float) -> None:
        """Keep `value` for `seconds`."""
        self._kept[key] = (self._clock() + seconds, value)
        self._kept.move_to_end(key)
        if len(self._kept) > CACHE_ENTRIES:
            self._kept.popitem(last=False)


class Resolver:
    """Asks the system's resolvers, or the one at `server` (`host:port`).

    Of the addresses that it finds, only those that it `permits` are used where no route names the
    host. With `dnssec` the resolvers are trusted to validate: what they mark as authentic (the AD
    bit, RFC 6840 section 5.8) is secure. Without it nothing is.
    """

    def __init__(
        self,
        server: str | None,
        hostname: str,
        *,
        dnssec: bool = False,
        permits: Callable[[str], bool] = is_public_text,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dnssec = dnssec
        self._permits = permits
        if server is None:
            self._dns = dns.asyncresolver.Resolver()
        else:
            host, _, port = server.rpartition(":")
            self._dns = dns.asyncresolver.Resolver(configure=False)
            self._dns.nameservers = [host.strip("[]")]
            self._dns.port = int(port)
        self._dns.lifetime = lifetime
        if dnssec:
            self._dns.set_flags(dns.flags.RD | dns.flags.AD)
        self._hostname = hostname.rstrip(".").lower()
        self._mx: DnsCache[MailHosts] = DnsCache(clock)
        self._addresses: DnsCache[Addresses] = DnsCache(clock)

    async def mail_hosts(self, domain: str) -> tuple[MxHost, ...]:
        """Return the hosts for mail to `domain`, by preference; the domain itself without MX.

        Raises:
            WireError: stage ROUTE; with a 5yz reply where the answer is definite.
        """
        return (await self.find_mail_hosts(domain)).hosts

    async def find_mail_hosts(self, domain: str) -> MailHosts:
        """As `mail_hosts`, with what DNSSEC says of them."""
        kept = self._mx.get(domain)
        if kept is None:
            try:
                found, ttl = await self._ask_mx(domain)
            except WireError as error:
                self._mx.put(domain, error, TTL_NEGATIVE if error.reply else TTL_FAILURE)
                raise
            self._mx.put(domain, found, ttl)
            return found
        if isinstance(kept, WireError):
            raise again(kept)
        return kept

    async def addresses(self, host: str, *, named_by_route: bool = False) -> tuple[str, ...]:
        """Return the addresses of `host`, IPv6 first; only public ones unless a route names it.

        Raises:
            WireError: there are none that may be used, or no answer came.
        """
        try:
            found: tuple[str, ...] = (str(ipaddress.ip_address(host)),)
        except ValueError:
            found = (await self.find_addresses(host)).addresses
        if named_by_route:
            return found
        allowed = tuple(address for address in found if self._permits(address))
        if not allowed:
            text = f"{host} has only addresses that mail is not sent to ({found[0]})"
            raise WireError(Stage.ROUTE, Fault.UNREACHABLE, text)
        return allowed

    async def find_addresses(self, host: str) -> Addresses:
        """All addresses of the name `host`, private ones too, and what DNSSEC says of them.

        Raises:
            WireError: there are none, or no answer came.
        """
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
            raise again(kept)
        return kept

    async def _ask_mx(self, domain: str) -> tuple[MailHosts, float]:
        found = await self.ask(domain, "MX")
        answer = found.answer
        if not answer.rrset:
            # no MX: the domain itself is the host, if it is one (RFC 5321 section 5.1)
            _, ttl = await self._ask_addresses(domain)
            return MailHosts((MxHost(0, domain),), found.secure), ttl
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
        return MailHosts(tuple(hosts[:MOST_HOSTS]), found.secure), found.ttl

    async def _ask_addresses(self, host: str) -> tuple[Addresses, float]:
        six, four = await asyncio.gather(
            self.ask(host, "AAAA"), self.ask(host, "A"), return_exceptions=True
        )
        found: list[str] = []
        ttl = TTL_MOST
        secure = True
        name = host
        for answer in (six, four):
            if isinstance(answer, Found) and answer.answer.rrset:
                found += [record.address for record in answer.answer]
                ttl = min(ttl, answer.ttl)
                secure = secure and answer.secure
                name = answer.answer.canonical_name.to_text(omit_final_dot=True).lower()
        if found:
            return Addresses(tuple(found[:MOST_ADDRESSES]), secure, name), ttl
        for answer in (six, four):
            if isinstance(answer, BaseException):
                raise answer
        raise WireError(Stage.ROUTE, Reply(550, "5.1.2", f"{host} has neither MX nor address"))

    async def ask(self, name: str, kind: str) -> Found:
        """Return the answer, not kept; without records where the name exists without such ones.

        Raises:
            WireError: stage ROUTE; with a 5yz reply where the name does not exist.
        """
        try:
            answer = await self._dns.resolve(
                dns.name.from_text(name), kind, raise_on_no_answer=False, search=False
            )
        except dns.resolver.NXDOMAIN as error:
            text = f"the domain {name} does not exist"
            raise WireError(Stage.ROUTE, Reply(550, "5.1.2", text)) from error
        except dns.resolver.NoNameservers as error:
            text = f"no name server answers for {name} ({kind})"
            raise WireError(Stage.ROUTE, Fault.DNS, text) from error
        except dns.exception.Timeout as error:
            text = f"the look-up of {name} ({kind}) took too long"
            raise WireError(Stage.ROUTE, Fault.DNS, text) from error
        except (dns.exception.DNSException, UnicodeError, ValueError, OSError) as error:
            text = f"the look-up of {name} ({kind}) failed: {type(error).__name__}"
            raise WireError(Stage.ROUTE, Fault.DNS, text) from error
        secure = self.dnssec and bool(answer.response.flags & dns.flags.AD)
        return Found(answer, secure, _ttl(answer))


def again(error: WireError) -> WireError:
    """Return a failure that was kept, to be raised again."""
    return WireError(error.stage, error.reply or error.fault or Fault.DNS, error.detail)


def _ttl(answer: "dns.resolver.Answer") -> float:
    seconds = float(answer.rrset.ttl) if answer.rrset else TTL_LEAST
    return max(TTL_LEAST, min(TTL_MOST, seconds))


def in_order(hosts: tuple[MxHost, ...], dice: random.Random | None = None) -> list[str]:
    """Return the names of `hosts` by preference, those of equal preference in random order."""
    shuffle = (dice or random).random
    return [host.name for host in sorted(hosts, key=lambda host: (host.preference, shuffle()))]
