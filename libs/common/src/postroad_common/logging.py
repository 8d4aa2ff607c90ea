"""Structured logs: one JSON object (or one readable line) per event on standard output.

Message ids are bound by the handlers; bodies, passwords and whole addresses are never logged at
level info or above.
"""

import logging
import sys

import structlog
from typing_extensions import override


class _WithoutContent(logging.Filter):
    """Names what a library logs of a message instead of writing it out: its body is a mail."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                type(value).__name__ if hasattr(value, "body") else value for value in record.args
            )
        return True


def set_up(service: str, level: str, fmt: str) -> None:
    """Configure structlog and the standard library's logging alike."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: structlog.typing.Processor
    if fmt == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(),
            # The prettier one prints local variables, passwords among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(number, logging.INFO))
    for noisy in ("aiormq", "aio_pika", "mail.log", "uvicorn.access", "pymongo", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("aiormq.channel").addFilter(_WithoutContent())
    # Reconnecting is BrokerLink's business, and it tells of it in one line; the library's own
    # account of every lost connection is a traceback.
    for silent in ("aiormq.connection", "aio_pika.connection"):
        logging.getLogger(silent).setLevel(logging.CRITICAL)
