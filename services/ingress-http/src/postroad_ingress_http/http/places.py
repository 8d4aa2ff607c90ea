"""Places for requests, so that those who have shown nothing take none from those who have.

Requests with a token or a session and requests without have places apart. A request takes its
place when its body is there: until then it costs a connection, and those without a token are few
per address (an IPv6 /64 is one). What a token is worth is found out before the body is read, so a
false one holds nothing.
"""

import ipaddress
from collections import Counter

from starlette.types import Scope

from postroad_ingress_http.http.errors import ApiError, unavailable

_UNCOUNTED = frozenset({"/livez", "/readyz"})
"""Asked by whoever looks after the process, however much there is to do."""


def shows_credentials(headers: list[tuple[bytes, bytes]], query: bytes) -> bool:
    """Tell whether a request names a token or a session, genuine or not; names in lower case."""
    if b"access_token=" in query:
        return True
    return any(
        name == b"authorization" or (name == b"cookie" and b"postroad_session=" in value)
        for name, value in headers
    )


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)


class Places:
    """Counts requests; `known` with credentials and `unknown` without may be in work at once."""

    def __init__(self, known: int, unknown: int, unknown_per_address: int) -> None:
        self._limits = {True: known, False: unknown}
        self._per_address = unknown_per_address
        self._taken: Counter[bool] = Counter()
        self._addresses: Counter[str] = Counter()

    def open(self, scope: Scope) -> "RequestPlace":
        """Return the place of a request that has begun; it must be closed.

        Raises:
            ApiError: 429, too many requests without credentials come from its address.
        """
        known = shows_credentials(scope["headers"], scope["query_string"])
        if scope["path"] in _UNCOUNTED:
            return RequestPlace(self, known=known, address="", counts=False)
        address = ""
        if not known:
            address = network_of(scope["client"][0] if scope.get("client") else "")
            if self._addresses[address] >= self._per_address:
                raise ApiError(
                    429,
                    "Too many requests without a token come from your address.",
                    headers={"Retry-After": "1"},
                )
            self._addresses[address] += 1
        return RequestPlace(self, known=known, address=address, counts=True)

    def take(self, *, known: bool) -> None:
        """Take one of the places.

        Raises:
            ApiError: 503, there is none.
        """
        if self._taken[known] >= self._limits[known]:
            raise unavailable("Too many requests are being worked on; try again soon.")
        self._taken[known] += 1

    def give_back(self, *, known: bool) -> None:
        """Give back what was taken."""
        self._taken[known] -= 1

    def leave(self, address: str) -> None:
        """Count a request of an address less."""
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]


class RequestPlace:
    """One request's place."""

    __slots__ = ("_address", "_counts", "_places", "_taken", "known")

    def __init__(self, places: Places, *, known: bool, address: str, counts: bool) -> None:
        self._places = places
        self._address = address
        self._counts = counts
        self._taken = False
        self.known = known

    def take(self) -> None:
        """Take the place, as the request is complete; once is enough.

        Raises:
            ApiError: 503, there is none.
        """
        if self._counts and not self._taken:
            self._places.take(known=self.known)
            self._taken = True

    def close(self) -> None:
        """Give everything back."""
        if self._taken:
            self._places.give_back(known=self.known)
            self._taken = False
        if self._counts and not self.known:
            self._places.leave(self._address)
