"""The optional request headers of the gateway, parsed once.

Invariant: a header that is present is well formed, or the request is refused naming it; none is guessed at.
"""

import re
from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from itertools import chain
from typing import Final, Literal, cast, get_args

from config.values import value_type
from llm.calls.urgency import HEADER as URGENCY
from llm.calls.urgency import NOW, Urgency, parse_urgency
from llm.catalog.catalog import TIERS
from llm.errors import InvalidRequest
from llm.wire.people import bounded
from tenants.allocation import MOST_TAGS

CacheMode = Literal["off", "exact", "on", "refresh"]
_CACHE_MODES: Final = get_args(CacheMode)
_MAX_LENGTH = 200
# of Claude Code, of Codex (whose older versions wrote an underscore), of opencode, and what others use by habit
SESSION_HEADERS = (
    *("x-claude-code-session-id", "session-id", "session_id", "x-opencode-session", "x-session-id"),
    *("conversation-id", "conversation_id", "x-conversation-id", "x-session-affinity", "thread-id"),
)
THREAD = "thread-id"  # Codex's name of an agent; the first thread of a session has the session's own id
AGENT_HEADERS = {
    "id": ("x-claude-code-agent-id", THREAD),
    "type": ("x-claude-code-agent-type", "x-openai-subagent"),
    "parent": ("x-claude-code-parent-agent-id", "x-codex-parent-thread-id"),
    "client": ("originator", "x-app"),
}

RUN: Final = "x-purser-run"
RUN_USD: Final = "x-purser-run-usd"
TAGS: Final = "x-purser-tags"
RUN_TAGS: Final = "x-purser-run-tags"
MOST_USD: Final = Decimal(1_000_000)

_AMOUNT: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,2})?")
_OURS: Final = "x-purser-"
_OTHERS: Final = frozenset({"idempotency-key", *SESSION_HEADERS, *chain(*AGENT_HEADERS.values())})


@value_type
class CallHeaders:
    """What the caller said about the call, outside its body. An absent header is the empty value."""

    user: str = ""
    feature: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    cache: CacheMode = "on"
    tier: str = ""
    compress: bool | None = None
    urgency: Urgency = NOW
    prompt_version: str = ""
    idempotency_key: str = ""
    session: str = ""
    run: str = ""
    run_usd: Decimal | None = None
    run_tags: Mapping[str, str] = field(default_factory=dict)
    agent: Mapping[str, str] = field(default_factory=dict)


_NOTHING_SAID: Final = CallHeaders()


def parse_headers(headers: Mapping[str, str]) -> CallHeaders:
    """Read the `x-purser-*` headers and those that coding agents send of themselves, or raise InvalidRequest naming the
    one that is wrong. The names are in small letters."""
    said = {
        name: _as_meant(value) for name, value in headers.items() if name.startswith(_OURS) or name in _OTHERS
    }
    return _parsed(said) if said else _NOTHING_SAID


def _parsed(headers: Mapping[str, str]) -> CallHeaders:
    session = _first(headers, SESSION_HEADERS)
    return CallHeaders(
        user=_text(headers, "x-purser-user"),
        feature=_text(headers, "x-purser-feature"),
        tags=_tags(headers, TAGS),
        cache=cast(CacheMode, _choice(headers, "x-purser-cache", _CACHE_MODES) or "on"),
        tier=_choice(headers, "x-purser-tier", TIERS),
        compress={"on": True, "off": False, "": None}[_choice(headers, "x-purser-compress", ("on", "off"))],
        urgency=parse_urgency(headers.get(URGENCY, "")),
        prompt_version=_text(headers, "x-purser-prompt-version"),
        idempotency_key=_text(headers, "idempotency-key", max_length=255),
        session=session,
        run=_text(headers, RUN),
        run_usd=_usd(headers, RUN_USD),
        run_tags=_tags(headers, RUN_TAGS),
        agent=_agent(headers, session=session),
    )


def _agent(headers: Mapping[str, str], *, session: str) -> dict[str, str]:
    """Which agent of a session calls; that of the session itself has no id, and is nobody's parent by name."""
    agent = {fact: value for fact, names in AGENT_HEADERS.items() if (value := _first(headers, names))}
    return {fact: value for fact, value in agent.items() if value != session or fact not in ("id", "parent")}


def _as_meant(value: str) -> str:
    """A header as its sender meant it: UTF-8 where it is valid UTF-8, else Latin-1 as HTTP has it."""
    try:
        return value if value.isascii() else value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    """What a tool says of itself in the first of these headers; never a reason to refuse a call."""
    for name in names:
        if value := headers.get(name):
            return bounded(value.strip().replace("\x00", ""))
    return ""


def _text(headers: Mapping[str, str], name: str, *, max_length: int = _MAX_LENGTH) -> str:
    value = headers.get(name, "").strip()
    if len(value) > max_length or "\x00" in value:
        raise InvalidRequest(f"Header {name} takes at most {max_length} characters.", param=name)
    return value


def _usd(headers: Mapping[str, str], name: str) -> Decimal | None:
    """An amount of at most two decimal places, such as "5" or "2.50"."""
    if not (text := headers.get(name, "").strip()):
        return None
    if not _AMOUNT.fullmatch(text) or not 0 < (amount := Decimal(text)) <= MOST_USD:
        raise InvalidRequest(f"Header {name} takes an amount in USD, such as 2.50.", param=name)
    return amount


def _choice(headers: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = headers.get(name, "").strip().lower()
    if value and value not in choices:
        raise InvalidRequest(f"Header {name} must be one of {', '.join(choices)}.", param=name)
    return value


def _tags(headers: Mapping[str, str], header: str) -> dict[str, str]:
    if not (text := headers.get(header, "")):
        return {}
    if "\x00" in text:
        raise InvalidRequest(f"Header {header} has a NUL character.", param=header)
    tags = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise InvalidRequest(f"Header {header} takes k=v,k=v.", param=header)
        tags[key.strip()[:_MAX_LENGTH]] = value.strip()[:_MAX_LENGTH]
    if len(tags) > MOST_TAGS:
        raise InvalidRequest(f"Header {header} takes at most {MOST_TAGS} tags.", param=header)
    return tags
