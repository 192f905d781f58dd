"""Structured logs: what is in them, and what never is."""

import json
import logging
import sys

import pytest
import structlog

from config.logs import CUT, redact
from tenants.keys import strings as keys


def written(record: logging.LogRecord) -> dict[str, object]:
    """The line that the product's handler writes for a record."""
    (handler,) = [handler for handler in logging.getLogger().handlers if is_ours(handler)]
    return dict(json.loads(handler.format(record)))


def is_ours(handler: logging.Handler) -> bool:
    return isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter)


def record_of(message: str, **options: object) -> logging.LogRecord:
    return logging.LogRecord("purser", logging.ERROR, __file__, 1, message, (), options.get("exc_info"))  # type: ignore[arg-type]


def test_it_works() -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1", tenant="acme"):
        line = written(record_of("something happened"))
    assert line["event"] == "something happened"
    assert (line["request_id"], line["tenant"], line["level"]) == ("r-1", "acme", "error")


@pytest.mark.parametrize("field", ["prompt", "messages", "Authorization", "x-api-key", "password", "body"])
def test_fields_that_hold_texts_or_secrets_are_cut(field: str) -> None:
    assert redact(None, "info", {"event": "e", field: "anything"})[field] == CUT
    assert redact(None, "info", {"event": "e", "deep": [{field: "anything"}]})["deep"] == [{field: CUT}]


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(keys.mint().clear, id="a key of ours"),
        pytest.param(keys.mint("x0123456789abcdef").clear, id="a key with a new secret"),
        "sk-ant-api03-abcdefghijklmnop",
        "Bearer abc.def.ghi",
        "postgresql://purser:hunter2@127.0.0.1/purser",
        "redis://:hunter2@127.0.0.1:6379/0",
    ],
)
def test_what_looks_like_a_secret_is_cut_anywhere(secret: str) -> None:
    line = written(record_of(f"refused {secret} at the door"))
    for part in ("hunter2", "abc.def.ghi", secret.rpartition("_")[2] if "psr_" in secret else secret):
        assert part not in str(line)
    assert CUT in str(line["event"])


def test_a_secret_in_an_exception_is_cut_too() -> None:
    secret = keys.mint().clear
    try:
        raise ValueError(f"no such key: {secret}")
    except ValueError:
        line = written(record_of("failed", exc_info=sys.exc_info()))
    assert "ValueError" in str(line["exception"])
    assert secret not in json.dumps(line)
