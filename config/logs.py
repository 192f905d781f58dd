"""Structured logs: one JSON object a line, with the request's id and its tenant.

Invariant: no prompt, no answer and no secret is ever written; what could hold one is cut before rendering.
"""

import logging
import logging.config
from typing import Any

import structlog

REDACTED_FIELDS = frozenset(
    {
        "api_key",
        "authorization",
        "x_api_key",
        "secret",
        "password",
        "token",
        "prompt",
        "messages",
        "input",
        "body",
        "content",
    }
)


def redact(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut the value of every field whose name says that it holds a secret or a prompt."""
    for name in event:
        if name.lower() in REDACTED_FIELDS:
            event[name] = "[redacted]"
    return event


SHARED = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
]


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's logs through the same processors to standard error."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
        "foreign_pre_chain": SHARED,
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                "aiohttp.access": {"level": "WARNING"},
                "httpx": {"level": "WARNING"},
                "httpx2": {"level": "WARNING"},
                "openai": {"level": "WARNING"},
                "anthropic": {"level": "WARNING"},
                "celery.beat": {"level": "WARNING"},
                "celery.app.trace": {"level": "WARNING"},
            },
        }
    )
