"""A link to a second node of the broker, which is there when the first one goes."""

from postroad_common.broker.link import BrokerLink
from postroad_common.servertls import ServerTls


def standby_of(link: BrokerLink, urls: str, role: str, tls: ServerTls) -> BrokerLink:
    """Return a link to another node than that of `link`, which begins once that knows of one.

    It declares nothing: that is done by `link`, which it connects after.
    """
    standby = BrokerLink(urls, role, tls=tls)
    standby.other, link.other = link, standby

    def begin() -> None:
        if not standby.is_started:
            standby.start()

    link.on_choice(begin)
    return standby
