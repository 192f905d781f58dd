"""Says which answers may be compared at all: the hard key that stands in front of every similarity.

Invariant: two requests share a scope only if they are equal in everything but the text of the last user
turn: tenant, circle of sharing, endpoint, model or route class, embedder and its precision, prompt version,
policy epoch, and the whole rest of the body, byte for byte in canonical form. Pure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tenants.policy import Policy, Share

# What says how an answer travels or who is charged, not what it is.
TRANSPORT_FIELDS = frozenset(
    {
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
_TEXT_PARTS = ("text", "input_text")  # a tuple: a type that is a list must not raise
_BLANK = "\x00"  # no JSON text of a client contains it unescaped, and an empty text stays different from it


class NotComparable(ValueError):
    """The request ends in no text of a user, or nobody may share its answer; the message is a stable word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request comes from and goes to, as far as its answer depends on it. Same for both caches.

    `route` is what was asked for (a model's name or `auto...`) with whatever else steers the choice of the
    model; `features` are the provider's versions and beta features that the caller's headers ask for.
    """

    tenant_id: int
    circle: str
    endpoint: str
    route: str
    prompt_version: str = ""
    epoch: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScope:
    """One compartment of the semantic cache, and the question that is compared inside it."""

    origin: Origin
    embedder: str
    request_digest: str
    question: str
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", _digest(self.origin, self.embedder, self.request_digest))

    @property
    def tenant_id(self) -> int:
        return self.origin.tenant_id


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as confirming answers goes: a key, and the end user it names, if it names one."""

    key_id: int
    user: str = ""

    @property
    def voucher(self) -> int:
        """64 bits that stand for the end user, or for the key where no user is named."""
        if not self.user:
            return self.key_id
        return int.from_bytes(hashlib.blake2b(self.user.encode(), digest_size=8).digest(), signed=True)


def circle_of(share: Share, *, user: str, key_id: int, team: str = "") -> str:
    """With whom a request may share answers under the tenant's policy; raises NotComparable if that is
    nobody.
    """
    if share == "tenant":
        return "tenant"
    if share == "key":
        return f"key:{key_id}"
    if share == "team":
        if not team:
            raise NotComparable("unknown_team")
        return f"team:{team}"
    if not user:
        raise NotComparable("unknown_user")
    return f"user:{user}"


def epoch_of(policy: Policy) -> str:
    """A digest of the parts of a policy that shape answers: when one of them changes, earlier answers
    retire.
    """
    parts = (policy.routing, policy.compression, policy.default_max_tokens, policy.cache.share)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def scope_of(body: Mapping[str, Any], *, origin: Origin, embedder: str) -> AnswerScope:
    """The scope and the question of a request body (chat, messages or responses); raises NotComparable."""
    rest, question = _without_question(body)
    return AnswerScope(
        origin=origin, embedder=embedder, request_digest=request_digest(rest), question=question
    )


def request_digest(body: Mapping[str, Any]) -> str:
    """A digest of everything in a body that its answer depends on, whatever the order of its fields."""
    kept = {name: value for name, value in body.items() if name not in TRANSPORT_FIELDS}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _digest(origin: Origin, embedder: str, request: str) -> bytes:
    parts = (
        str(origin.tenant_id),
        origin.circle,
        origin.endpoint,
        origin.route,
        origin.prompt_version,
        origin.epoch,
        origin.features,
        embedder,
        request,
    )
    # Each part with its length, so that no two lists of parts run together into one text.
    return hashlib.sha256(
        b"".join(b"%d:%s," % (len(part.encode()), part.encode()) for part in parts)
    ).digest()


def _without_question(body: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The body with the last user text blanked, and that text."""
    name = "messages" if "messages" in body else "input"
    turns = body.get(name)
    if isinstance(turns, str):
        content, question = _blanked(turns)
        return {**body, name: content}, question
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        raise NotComparable("no_question")
    last = turns[-1]
    if last.get("role") != "user":
        raise NotComparable("no_question")
    content, question = _blanked(last.get("content"))
    return {**body, name: [*turns[:-1], {**last, "content": content}]}, question


def _blanked(content: Any) -> tuple[Any, str]:
    if isinstance(content, str):
        if not content.strip():
            raise NotComparable("no_question")
        return _BLANK, content
    if not isinstance(content, list):
        raise NotComparable("no_question")
    texts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str)
    ]
    # More than one text is a prompt with material in it: only a lone one is a question.
    if len(texts) != 1 or not texts[0].strip():
        raise NotComparable("no_question")
    parts = [
        {**part, "text": _BLANK} if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part
        for part in content
    ]
    return parts, texts[0]
