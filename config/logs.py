"""Structured logs: one JSON object a line, with the request's id and its tenant.

Invariant: no prompt, no answer and no secret is ever written. Fields that could hold one are redacted before rendering.
"""

import logging
import logging.config
import re
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied

CUT = "[redacted]"
SECRET_FIELDS = frozenset({"api_key", "authorization", "x_api_key", "secret", "password", "token", "cookie"})
TEXT_FIELDS = frozenset(
    {"prompt", "messages", "input", "output", "system", "body", "content", "question", "answer"}
)
# patterns of secrets: our keys, providers' keys, bearer tokens, the password in a URL
SECRETS = re.compile(
    r"psr_x?[0-9a-f]{16}_[\w-]{16,}|\bsk-[\w-]{8,}|(?<=Bearer )[^\s'\"]+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
)
MAX_DEPTH = 6


def redact(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Redact fields whose name says that they hold a secret or a text, and anything that looks like a secret."""
    return {name: _cut(name, value, depth=0) for name, value in event.items()}


def _cut(name: str, value: Any, *, depth: int) -> Any:
    field = name.lower().replace("-", "_")
    if field in SECRET_FIELDS or field in TEXT_FIELDS or depth > MAX_DEPTH:
        return CUT
    if isinstance(value, str):
        return SECRETS.sub(CUT, value)
    if isinstance(value, dict):
        return {key: _cut(str(key), item, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cut("", item, depth=depth + 1) for item in value]
    return value


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    redact,
]


class QuietRefusals(logging.Filter):
    """A refused page is one line of the log, without the traceback of how it was refused."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], PermissionDenied):
            record.exc_info = None
        return True


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
            "filters": {"quiet": {"()": QuietRefusals}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level},
            "loggers": {
                "django.request": {"filters": ["quiet"]},
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
