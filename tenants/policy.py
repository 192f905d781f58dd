"""A tenant's policy: which steps of the pipeline run for it, and how.

Invariant: a `Policy` is frozen and complete. A field that the tenant's JSON leaves out has the default written here. A
wrong field is refused with its path. No step of the pipeline checks again.
"""

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeVar

import pydantic_core
import regex
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from tenants.allocation_policy import AllocationPolicy
from tenants.wording import sentence_about

Tier = Literal["simple", "standard", "complex"]
LOCAL_EMBEDDERS = ("minilm", "wordllama")
TextRule = Literal["too_short", "language", "time_sensitive", "personal", "wants_variety", "action"]
SemanticMode = Literal["off", "dry_run", "static", "bounded"]
Share = Literal["user", "key", "team", "tenant"]


def _check_regex(text: str) -> str:
    try:
        regex.compile(text)
    except regex.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_check_regex)]
# one of LOCAL_EMBEDDERS, or an embedding model of the catalogue
EmbedderName = Annotated[str, Field(min_length=1, max_length=128)]
Usd = Annotated[int | float, Field(gt=0, le=1_000_000)]
Percent = Annotated[int | float, Field(gt=0, le=1000)]

_Parsed = TypeVar("_Parsed")
_CONFIG = ConfigDict(extra="forbid", strict=True)


class InvalidPolicy(ValueError):
    """A policy with a wrong field. `path` leads to the field, `problem` says what is wrong."""

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        super().__init__(f"{_dotted(path)}: {problem}")
        self.path, self.problem = path, problem


@dataclass(frozen=True, slots=True, config=_CONFIG)
class RateLimits:
    """Requests and tokens a minute, and calls at one time; None is no limit."""

    rpm: int | None = Field(default=None, ge=1)
    tpm: int | None = Field(default=None, ge=1)
    concurrency: int | None = Field(default=None, ge=1)

    def __bool__(self) -> bool:
        return self.rpm is not None or self.tpm is not None or self.concurrency is not None


@dataclass(frozen=True, slots=True, config=_CONFIG)
class CachePolicy:
    """What the caches may answer.

    `threshold` is the tenant's own choice, for static mode only. In bounded mode the cache finds the threshold that
    keeps wrong answers under `max_error_rate`.
    """

    exact: bool = True
    ttl_seconds: int = Field(default=86_400, ge=1, le=31_536_000)
    max_entries: int = Field(default=10_000, ge=1, le=10_000_000)
    semantic: SemanticMode = "bounded"
    max_error_rate: float = Field(default=0.02, gt=0, lt=1)
    threshold: float = Field(default=0.95, gt=0, le=1)
    share: Share = "tenant"
    # distinct keys that must have got an answer before others do
    confirm_keys: int = Field(default=2, ge=1, le=100)
    max_temperature: float = Field(default=0.0, ge=0, le=2)  # a request above it asked for variety
    provider_marks: bool = True  # mark long stable prefixes for Anthropic's own cache
    # bounded mode: what checking hits upstream may cost
    check_usd_per_day: float = Field(default=1.0, ge=0)
    judge_model: str = ""  # chat model that compares answers where rules and vectors leave doubt; empty: none
    judge_usd_per_day: float = Field(default=1.0, ge=0)  # what asking it may cost
    # how long equal requests wait for the first of them
    single_flight_seconds: int = Field(default=30, ge=0, le=600)
    embedder: EmbedderName = "minilm"
    # answers are stored for these too, so that one of them can replace `embedder`
    also_embed_with: tuple[EmbedderName, ...] = ()
    # how long a request waits for a vector from a provider
    embed_timeout_ms: int = Field(default=300, ge=1, le=10_000)
    embed_usd_per_day: float = Field(default=1.0, ge=0)  # what a provider's vectors may cost
    # rules that exclude a question from the semantic cache, and that are switched off
    waived_rules: tuple[TextRule, ...] = ()
    # regular expressions of questions that the cache must not answer
    bypass_patterns: tuple[Pattern, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether the cache judges misses and learns thresholds from them (for use, or in a dry run for reports)."""
        return self.semantic in ("bounded", "dry_run")


@dataclass(frozen=True, slots=True, config=_CONFIG)
class RoutingPolicy:
    """Whether `auto` chooses a tier, the tier of a request that no rule matches, and how long answers may be."""

    enabled: bool = True
    default_tier: Tier = "standard"
    # what a named model gets where the request sets no limit: its own maximum, or its tier's `default_max_tokens`
    output_limit: Literal["model", "tier"] = "model"
    # what `auto` is compared with; empty: the cheapest capable model of the complex tier
    baseline_model: str = ""


@dataclass(frozen=True, slots=True, config=_CONFIG)
class CompressionPolicy:
    """Whether prompts are shortened, and by which means. `history_turns` 0 keeps the whole history."""

    enabled: bool = False
    json: bool = True
    whitespace: bool = True
    duplicates: bool = True
    history_turns: int = Field(default=0, ge=0, le=10_000)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class PressureRule:
    """From this share of a budget on, requests of tier `demote` go one tier down, or all requests go to `only`."""

    at_percent: Percent
    demote: Literal["standard", "complex"] | None = None
    only: Tier | None = None
    applies_to_named: bool = False  # also to requests that name their model

    @model_validator(mode="after")
    def _has_one_action(self) -> "PressureRule":
        if (self.demote is None) == (self.only is None):
            raise ValueError("needs exactly one of demote and only")
        return self


@dataclass(frozen=True, slots=True, config=_CONFIG)
class DefaultMaxTokens:
    """By tier, the `max_tokens` of a request to `auto` that sends none."""

    simple: int = Field(default=512, ge=1, le=10_000_000)
    standard: int = Field(default=2_048, ge=1, le=10_000_000)
    complex: int = Field(default=4_096, ge=1, le=10_000_000)

    def for_tier(self, tier: str) -> int:
        """The limit of a tier. A model without a tier gets the standard one."""
        if tier == "simple":
            return self.simple
        return self.complex if tier == "complex" else self.standard


@dataclass(frozen=True, slots=True, config=_CONFIG)
class ClosingPolicy:
    """Whether the schedule closes months (otherwise an operator does), and how long it waits for late usage.

    `four_eyes`: what one person proposes to write into the tenant's books, another one approves; who asks to close
    a month does not confirm it.
    """

    auto: bool = False
    grace_hours: int = Field(default=48, ge=0, le=2_160)
    four_eyes: bool = False


@dataclass(frozen=True, slots=True, config=_CONFIG)
class BudgetPolicy:
    """What happens to a stream that produces more than its hold covers.

    `cut`: it is cut. `extend`: its hold is extended as far as every hard budget allows, and then it is cut.
    """

    stream_overrun: Literal["cut", "extend"] = "extend"


@dataclass(frozen=True, slots=True, config=_CONFIG)
class EnvelopePolicy:
    """Envelopes: a hard budget in USD of each run, under all other budgets, and what opens one.

    `session`: each session of a tool, and each run that a header names; `run`: the latter only; `asked`: nothing by itself,
    only a header with an amount, a request or a person. The amount is the key's, else the user's, else `usd`.
    """

    opens: Literal["nothing", "asked", "run", "session"] = "nothing"
    usd: float = Field(default=5.0, gt=0, le=1_000_000)
    most_usd: float = Field(default=50.0, gt=0, le=1_000_000)  # that a caller may ask for, raises included
    own_raises: int = Field(default=0, ge=0, le=100)  # how often whose run it is may raise it, by its amount
    hours: int = Field(default=24, ge=1, le=720)  # until it is over
    most_open: int = Field(default=100, ge=1, le=1_000)  # at one time, of each user or key
    shared_by: Literal["owners", "people"] = "owners"  # who opens envelopes from which others draw
    users: Mapping[str, Usd] = field(default_factory=dict)
    keys: Mapping[str, Usd] = field(default_factory=dict)

    def usd_of(self, *, key: str, user: str) -> Decimal:
        """What an envelope of theirs has at first."""
        return Decimal(str(self.keys.get(key) or self.users.get(user) or self.usd))


@dataclass(frozen=True, slots=True, config=_CONFIG)
class HedgingPolicy:
    """Hedging: when a provider's first byte is late, a second call is sent and the faster one answers. Both are paid.

    Off without `after_ms`. At most `max_percent` of the tenant's calls get a second one.
    """

    after_ms: int | None = Field(default=None, ge=1, le=600_000)
    max_percent: float = Field(default=5, gt=0, le=50)
    whole_answers: bool = False  # also for calls that do not stream, whose first byte is their last


@dataclass(frozen=True, slots=True, config=_CONFIG)
class UsersPolicy:
    """Whether a call may name an undeclared user, and whether it may name no user where users have budgets."""

    unknown: Literal["invent", "refuse"] = "invent"
    missing: Literal["allow", "refuse"] = "allow"


@dataclass(frozen=True, slots=True, config=_CONFIG)
class DeferredPolicy:
    """When deferred calls to one model go out as a batch: as soon as there are so many, or one is so old, or all together
    have so many input tokens. And what becomes of those that no batch answers in time.
    """

    max_jobs: int = Field(default=1_000, ge=1, le=10_000)
    max_age_seconds: int = Field(default=30, ge=0, le=86_400)
    max_tokens: int = Field(default=2_000_000, ge=1, le=1_000_000_000)
    deadline_hours: int = Field(default=24, ge=1, le=72)  # of calls that name none
    concurrency: int = Field(default=8, ge=1, le=64)  # of those that go out in real time
    channel: str = Field(
        default="", max_length=100
    )  # the webhook of the tenant that gets a notice of each that is over


@dataclass(frozen=True, slots=True, config=_CONFIG)
class RefreshPolicy:
    """Whether the questions that are asked most are asked again, in batches, before their answers in the exact cache expire.
    To be asked again they are kept, encrypted, until then.
    """

    enabled: bool = False
    usd_per_month: float = Field(default=10.0, gt=0, le=1_000_000)  # a hard budget of its own
    least_hits: int = Field(default=3, ge=1)  # of an answer, to be worth another one
    before_seconds: int = Field(default=7_200, ge=60, le=86_400)  # a batch needs as long
    max_questions: int = Field(default=1_000, ge=1, le=10_000)
    # names of keys whose users' own answers may be refreshed, where users share none (`cache.share: user`)
    private_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, config=_CONFIG)
class SelfService:
    """What members may do for themselves in the portal: how many keys of their own, for what and how long, with which limits."""

    keys: int = Field(default=5, ge=0, le=100)  # of each person; 0: none
    key_days: int = Field(default=365, ge=1, le=3_650)  # the longest life of such a key
    key_models: tuple[str, ...] = ("*",)
    key_rate_limits: RateLimits = field(default_factory=RateLimits)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Quotas:
    """How much data may be stored for a tenant."""

    files: int = Field(default=10_000, ge=0)
    file_bytes: int = Field(default=20_000_000_000, ge=0)  # of all of them together
    chats: int = Field(default=10_000, ge=0)  # stored chats; beyond them an answer is not stored
    chat_bytes: int = Field(default=2_000_000_000, ge=0)
    open_batches: int = Field(default=100, ge=0)  # unfinished ones, of both APIs
    open_jobs: int = Field(default=10_000, ge=0)  # deferred calls that have no answer yet
    job_bytes: int = Field(default=1_000_000_000, ge=0)  # of the bodies of all of them together
    keys: int = Field(default=1_000, ge=0)
    # that callers bring along, in a month: beyond them they are counted together
    tag_names: int = Field(default=50, ge=0, le=1_000)
    tag_values: int = Field(default=1_000, ge=0, le=100_000)  # of each name


_DEFAULT_PRESSURE = (
    PressureRule(at_percent=90, demote="complex"),
    PressureRule(at_percent=95, only="simple"),
)


@dataclass(frozen=True, slots=True, config=_CONFIG)
class Policy:
    """Everything a tenant may decide about its requests."""

    cache: CachePolicy = field(default_factory=CachePolicy)
    routing: RoutingPolicy = field(default_factory=RoutingPolicy)
    compression: CompressionPolicy = field(default_factory=CompressionPolicy)
    pressure: tuple[PressureRule, ...] = _DEFAULT_PRESSURE
    features_off_at: Mapping[str, Percent] = field(default_factory=dict)
    default_max_tokens: DefaultMaxTokens = field(default_factory=DefaultMaxTokens)
    budgets: BudgetPolicy = field(default_factory=BudgetPolicy)
    envelopes: EnvelopePolicy = field(default_factory=EnvelopePolicy)
    allocation: AllocationPolicy = field(default_factory=AllocationPolicy)
    closing: ClosingPolicy = field(default_factory=ClosingPolicy)
    users: UsersPolicy = field(default_factory=UsersPolicy)
    quotas: Quotas = field(default_factory=Quotas)
    self_service: SelfService = field(default_factory=SelfService)
    hedging: HedgingPolicy = field(default_factory=HedgingPolicy)
    deferred: DeferredPolicy = field(default_factory=DeferredPolicy)
    refresh: RefreshPolicy = field(default_factory=RefreshPolicy)
    structured_output: Literal["repair", "flag", "off"] = "repair"  # an answer that does not fit its schema
    user_rate_limits: RateLimits = field(default_factory=RateLimits)  # of each end user by itself
    store_chats: bool = True  # keep chat completions that clients send with `store: true`
    log_prompts: bool = False
    own_accounts_only: bool = False  # use only provider accounts that no other tenant shares

    @property
    def first_pressure_at(self) -> float:
        """The used percent of a budget from which something depends on it; 100 where nothing does."""
        return min(
            [*(rule.at_percent for rule in self.pressure), *self.features_off_at.values()], default=100
        )

    def feature_is_off(self, feature: str, *, used_percent: float) -> bool:
        """Whether budget pressure has switched a feature off. Names in `features_off_at` may be globs."""
        return any(
            used_percent >= percent and fnmatchcase(feature, pattern)
            for pattern, percent in self.features_off_at.items()
        )


# Fields that only operators change. Owners can read them.
PLATFORM_POLICY = ("closing", "own_accounts_only", "quotas", "users")

_POLICY = TypeAdapter(Policy)
_RATE_LIMITS = TypeAdapter(RateLimits)


def parse_policy(value: Mapping[str, Any] | None) -> Policy:
    """The policy a tenant's JSON describes; raises InvalidPolicy, a ValueError naming the wrong field."""
    return _parse(_POLICY, value, root="policy")


def parse_rate_limits(value: Mapping[str, Any] | None) -> RateLimits:
    """The limits a JSON object describes; raises InvalidPolicy, a ValueError naming the wrong one."""
    return _parse(_RATE_LIMITS, value, root="rate_limits")


def _parse(adapter: TypeAdapter[_Parsed], value: Mapping[str, Any] | None, *, root: str) -> _Parsed:
    try:
        document = pydantic_core.to_json({} if value is None else value)
    except ValueError as error:
        raise InvalidPolicy((root,), "is not plain data") from error
    try:
        # As JSON: strict validation then accepts a list for a tuple.
        return adapter.validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidPolicy((root, *first["loc"]), sentence_about(first)) from None


def _dotted(path: tuple[str | int, ...]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
