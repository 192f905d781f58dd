"""The optional request headers of the gateway, parsed once.

Invariant: a header that is present is well formed, or the request is refused naming it; none is guessed at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from llm.catalog import TIERS
from llm.errors import InvalidRequest

CacheMode = Literal["off", "exact", "on", "refresh"]
_MAX_LENGTH = 200


@dataclass(frozen=True, slots=True)
class CallHeaders:
    """What the caller said about the call, outside its body. An absent header is the empty value."""

    user: str = ""
    feature: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    cache: CacheMode = "on"
    tier: str = ""
    compress: bool | None = None
    urgency: Literal["now", "deferred"] = "now"
    prompt_version: str = ""
    idempotency_key: str = ""


def parse_headers(headers: Mapping[str, str]) -> CallHeaders:
    """Read the `x-purser-*` headers, or raise InvalidRequest naming the one that is wrong."""
    return CallHeaders(
        user=_text(headers, "x-purser-user"),
        feature=_text(headers, "x-purser-feature"),
        tags=_tags(headers.get("x-purser-tags", "")),
        cache=cast(CacheMode, _choice(headers, "x-purser-cache", get_args(CacheMode)) or "on"),
        tier=_choice(headers, "x-purser-tier", TIERS),
        compress={"on": True, "off": False, "": None}[_choice(headers, "x-purser-compress", ("on", "off"))],
        urgency="deferred"
        if _choice(headers, "x-purser-urgency", ("now", "deferred")) == "deferred"
        else "now",
        prompt_version=_text(headers, "x-purser-prompt-version"),
        idempotency_key=_text(headers, "idempotency-key", max_length=255),
    )


def _text(headers: Mapping[str, str], name: str, *, max_length: int = _MAX_LENGTH) -> str:
    value = headers.get(name, "").strip()
    if len(value) > max_length or "\x00" in value:
        raise InvalidRequest(f"Header {name} takes at most {max_length} characters.", param=name)
    return value


def _choice(headers: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = headers.get(name, "").strip().lower()
    if value and value not in choices:
        raise InvalidRequest(f"Header {name} must be one of {', '.join(choices)}.", param=name)
    return value


def _tags(text: str) -> dict[str, str]:
    tags = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise InvalidRequest("Header x-purser-tags takes k=v,k=v.", param="x-purser-tags")
        tags[key.strip()[:_MAX_LENGTH]] = value.strip()[:_MAX_LENGTH]
    if len(tags) > 20:
        raise InvalidRequest("Header x-purser-tags takes at most 20 tags.", param="x-purser-tags")
    return tags
