"""Where DNS says that mail for a domain goes (RFC 5321 section 5.1, RFC 7505).

Answers are kept for their TTL within bounds, failures for a shorter time. No answer is never a
reason to give up: only a definite one is.
"""

import asyncio
import ipaddress
import random
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, zip_longest

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver

from postroad_common.mail.reply import Reply
from postroad_common.publicaddress import is_public_text
from postroad_sender.dns.answers import Answers
from postroad_sender.dns.nameserver import BoundedNameserver
from postroad_smtp.client.stage import Fault, Stage, WireError

LIFETIME = 10.0  # seconds for one question, repetitions included
TTL_LEAST, TTL_MOST = 5.0, 3600.0
TTL_NEGATIVE = 60.0
TTL_FAILURE = 10.0
MOST_QUESTIONS = 400  # at the same time; each takes a socket
MOST_HOSTS = 20
MOST_ADDRESSES = 8
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


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


class Resolver:
    """Asks the system's resolvers, or the one at `server` (`host:port`).

    `hostname` is ours, and so are its `aliases`: MX hosts of these names lead back here. Of the
    addresses that it finds, only those that it `permits` are used where no route names the host.
    With `dnssec` the resolvers are trusted to validate: what they mark as authentic (the AD
    bit, RFC 6840 section 5.8) is secure. Without it nothing is.
    """

    def __init__(
        self,
        server: str | None,
        hostname: str,
        *,
        aliases: Iterable[str] = (),
        dnssec: bool = False,
        permits: Callable[[str], bool] = is_public_text,
        lifetime: float = LIFETIME,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.dnssec = dnssec
        self._permits = permits
        if server is None:
            self._dns = dns.asyncresolver.Resolver()
            servers, port = [str(address) for address in self._dns.nameservers], self._dns.port
        else:
            host, _, number = server.rpartition(":")
            self._dns = dns.asyncresolver.Resolver(configure=False)
            servers, port = [host.strip("[]")], int(number)
        self._dns.nameservers = [BoundedNameserver(address, port) for address in servers]
        self._dns.lifetime = lifetime
        if dnssec:
            self._dns.set_flags(dns.flags.RD | dns.flags.AD)
        self._ours = frozenset(name.rstrip(".").lower() for name in (hostname, *aliases))
        self._turns = asyncio.Semaphore(MOST_QUESTIONS)
        self._mx = Answers(
            self._ask_mx,
            weigh=lambda found: sum(len(host.name) + 100 for host in found.hosts),
            definite=TTL_NEGATIVE,
            unknown=TTL_FAILURE,
            clock=clock,
        )
        self._addresses = Answers(
            self._ask_addresses,
            weigh=lambda found: sum(len(address) + 50 for address in found.addresses),
            definite=TTL_NEGATIVE,
            unknown=TTL_FAILURE,
            clock=clock,
        )

    async def mail_hosts(self, domain: str) -> tuple[MxHost, ...]:
        """Return the hosts for mail to `domain`, by preference; the domain itself without MX.

        Raises:
            WireError: stage ROUTE; with a 5yz reply where the answer is definite.
        """
        return (await self.find_mail_hosts(domain)).hosts

    async def find_mail_hosts(self, domain: str) -> MailHosts:
        """As `mail_hosts`, with what DNSSEC says of them."""
        return await self._mx.find(domain)

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
        return await self._addresses.find(host)

    async def _ask_mx(self, domain: str) -> tuple[MailHosts, float]:
        found = await self.ask(domain, "MX")
        if found.answer.rrset:
            hosts, ttl = _hosts_of(found.answer, domain), found.ttl
        else:
            # no MX: the domain itself is the host, if it is one (RFC 5321 section 5.1)
            _, ttl = await self._ask_addresses(domain)
            hosts = [MxHost(0, domain)]
        ours = [host.preference for host in hosts if host.name in self._ours]
        if ours:
            hosts = [host for host in hosts if host.preference < min(ours)]
        if not hosts:
            text = f"mail for {domain} loops back to this server"
            raise WireError(Stage.ROUTE, Reply(554, "5.4.6", text))
        return MailHosts(tuple(hosts[:MOST_HOSTS]), found.secure), ttl

    async def _ask_addresses(self, host: str) -> tuple[Addresses, float]:
        answers = await asyncio.gather(
            self.ask(host, "AAAA"), self.ask(host, "A"), return_exceptions=True
        )
        found: list[list[str]] = []
        ttl = TTL_MOST
        secure = True
        name = host
        for answer in answers:
            if isinstance(answer, Found) and answer.answer.rrset:
                found.append([record.address for record in answer.answer])
                ttl = min(ttl, answer.ttl)
                secure = secure and answer.secure
                name = answer.answer.canonical_name.to_text(omit_final_dot=True).lower()
        if found:
            # Alternating: of a host with many addresses only a few are tried, and where there is no
            # way to those of one kind, some of the other kind must be among them.
            mixed = [one for one in chain.from_iterable(zip_longest(*found)) if one is not None]
            return Addresses(tuple(mixed[:MOST_ADDRESSES]), secure, name), ttl
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        # There are servers which say of names without AAAA that they do not exist (RFC 4074). So
        # that is definite only if the question for A was answered, too.
        failures.sort(key=lambda failure: isinstance(failure, WireError) and bool(failure.reply))
        if failures:
            raise failures[0]
        raise WireError(Stage.ROUTE, Reply(550, "5.1.2", f"{host} has neither MX nor address"))

    async def ask(self, name: str, kind: str) -> Found:
        """Return the answer, not kept; without records where the name exists without such ones.

        Raises:
            WireError: stage ROUTE; with a 5yz reply where the name does not exist.
        """
        try:
            async with self._turns:  # the time for the answer begins only here
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
        flags = answer.response.flags
        if not answer.rrset and not flags & (dns.flags.RA | dns.flags.AA):
            # a referral, or a server that knows nothing of the name: that is no answer
            text = f"the name server does not look up {name} ({kind})"
            raise WireError(Stage.ROUTE, Fault.DNS, text)
        secure = self.dnssec and bool(flags & dns.flags.AD)
        return Found(answer, secure, _ttl(answer))


def _hosts_of(answer: dns.resolver.Answer, domain: str) -> list[MxHost]:
    """Return the hosts that an answer about MX names, by preference.

    Raises:
        WireError: `domain` takes no mail, or none of its hosts has a name that can be one.
    """
    named = [
        MxHost(record.preference, record.exchange.to_text(omit_final_dot=True).lower())
        for record in answer
    ]
    if all(host.name == "." for host in named):
        raise WireError(Stage.ROUTE, Reply(556, "5.1.10", f"{domain} takes no mail (null MX)"))
    hosts = [host for host in named if _HOST.fullmatch(host.name)]
    if not hosts:
        text = f"the MX hosts of {domain} have no valid names"
        raise WireError(Stage.ROUTE, Fault.DNS, text)
    return sorted(hosts, key=lambda host: (host.preference, host.name))


def _ttl(answer: "dns.resolver.Answer") -> float:
    seconds = float(answer.rrset.ttl) if answer.rrset else TTL_LEAST
    return max(TTL_LEAST, min(TTL_MOST, seconds))


def in_order(hosts: tuple[MxHost, ...], dice: random.Random | None = None) -> list[str]:
    """Return the names of `hosts` by preference, those of equal preference in random order."""
    shuffle = (dice or random).random
    return [host.name for host in sorted(hosts, key=lambda host: (host.preference, shuffle()))]
