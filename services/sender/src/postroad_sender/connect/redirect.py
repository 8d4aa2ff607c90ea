"""Another host for a lane's mail, as an operator has directed."""

from dataclasses import dataclass

from postroad_smtp.client.session import TlsWish


@dataclass(frozen=True, slots=True)
class Redirect:
    """The lane's mail goes to this host instead: what operators name may be anywhere."""

    host: str
    port: int = 25
    tls: TlsWish = TlsWish.OPPORTUNISTIC
