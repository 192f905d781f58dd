"""The scope of an answer: the exact key that two requests must share before their questions are compared.

Invariant: two requests share a scope only if they are equal in everything except the text of the last user turn:
tenant, circle of sharing, endpoint, model or route class, embedder and its precision, prompt version, policy epoch,
and the rest of the body, byte for byte in canonical form. Pure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import orjson

from config.values import value_type
from tenants.policy import Policy, Share

# Fields that say how an answer is delivered or who pays for it. They do not change the answer.
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
    """The request does not end in a user's text, or its answer may not be shared. The message is a stable word."""


@value_type
class Origin:
    """Where a request comes from and goes to, as far as its answer depends on it. The same for both caches.

    `route` is the requested model (a name or `auto...`) and everything else that affects the choice of the model.
    `features` are the provider's versions and beta features that the caller's headers ask for.
    """

    _: KW_ONLY
    tenant_id: int
    circle: str
    endpoint: str
    route: str
    prompt_version: str = ""
    epoch: str = ""
    features: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScope:
    """One scope of the semantic cache, and the question that is compared within it."""

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


@value_type
class Asker:
    """Who asks, for the confirmation of answers: a key, and the end user it names, if any."""

    key_id: int
    user: str = ""

    @property
    def voucher(self) -> int:
        """A 64-bit digest of the end user, or the key's id where no user is named."""
        if not self.user:
            return self.key_id
        return int.from_bytes(hashlib.blake2b(self.user.encode(), digest_size=8).digest(), signed=True)


def circle_of(share: Share, *, user: str, key_id: int, team: str = "") -> str:
    """With whom a request may share answers under the tenant's policy. Raises NotComparable if with no one."""
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
    """A digest of the parts of a policy that affect answers. When one changes, earlier answers are not used again."""
    parts = (policy.routing, policy.compression, policy.default_max_tokens, policy.cache.share)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@value_type
class Fingerprint:
    """The digests of a body, made in one walk through it: of everything that its answer depends on, and of the same without
    its question."""

    whole: str
    rest: str = ""
    question: str = ""
    why_not: str = ""  # the reason if it has no question


def fingerprint_of(body: Mapping[str, Any]) -> Fingerprint:
    """Read a request body (chat, messages or responses)."""
    try:
        rest, question = _without_question(body)
    except NotComparable as reason:
        return Fingerprint(request_digest(body), why_not=str(reason))
    digest = request_digest(rest)
    whole = hashlib.sha256(digest.encode() + b":" + question.encode("utf-8", "surrogatepass"))
    return Fingerprint(whole.hexdigest(), digest, question)


def scope_of(
    body: Mapping[str, Any], *, origin: Origin, embedder: str, fingerprint: Fingerprint | None = None
) -> AnswerScope:
    """The scope and the question of a request body, whose fingerprint may be known; raises NotComparable."""
    read = fingerprint or fingerprint_of(body)
    if read.why_not:
        raise NotComparable(read.why_not)
    return AnswerScope(origin=origin, embedder=embedder, request_digest=read.rest, question=read.question)


def request_digest(body: Mapping[str, Any]) -> str:
    """A digest of everything in a body that its answer depends on. The order of the fields does not matter."""
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
    # Each part is prefixed with its length: two different lists of parts never give the same text.
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
    # Several texts are a prompt with material in it. Only a single text is a question.
    if len(texts) != 1 or not texts[0].strip():
        raise NotComparable("no_question")
    parts = [
        {**part, "text": _BLANK} if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else part
        for part in content
    ]
    return parts, texts[0]
