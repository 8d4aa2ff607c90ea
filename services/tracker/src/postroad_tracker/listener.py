"""The HTTP listener: the common one with the bounds that a server open to strangers needs."""

from postroad_common.listener import HttpListener
from postroad_tracker.asgi import Application

KEEP_ALIVE_SECONDS = 30
MAX_CONNECTIONS = 10_000


class TrackerListener(HttpListener):
    """Serves `handler` at `host`:`port` from `start` until `stop`.

    Raises:
        OSError: the port cannot be had.
    """

    def __init__(self, handler: Application, host: str, port: int, *, reuse_port: bool) -> None:
        super().__init__(
            handler,
            host,
            port,
            reuse_port=reuse_port,
            grace=5,
            keep_alive=KEEP_ALIVE_SECONDS,
            max_connections=MAX_CONNECTIONS,
            date_header=False,
        )
