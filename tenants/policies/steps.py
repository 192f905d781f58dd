"""The steps of the pipeline as people choose them: each with its switch, one sentence, and its own few fields.

Invariant: every field of a policy stands in exactly one step; one that no step names stands in the last.
"""

from dataclasses import dataclass, field
from typing import Final

from tenants.policies.fields import Path, policy_fields
from tenants.policy import PLATFORM_POLICY


@dataclass(frozen=True)
class Step:
    """One step. `switch` is the path of what turns it on and off; `labels` name its fields, in their order."""

    name: str
    title: str
    sentence: str
    switch: str = ""
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> list[Path]:
        """The fields of the step, its switch first."""
        return [tuple(text.split(".")) for text in ([self.switch] if self.switch else []) + list(self.labels)]


NAMED: Final = (
    Step(
        "exact",
        "Exact cache",
        "A request that was answered before, to the letter, gets the same answer again, at no cost.",
        "cache.exact",
        {
            "cache.ttl_seconds": "An answer is kept for, seconds",
            "cache.max_entries": "Most answers kept",
            "cache.single_flight_seconds": "Equal requests wait for the first one, seconds",
            "cache.max_temperature": "Highest temperature that is cached",
            "cache.share": "An answer is shared within",
            "cache.confirm_keys": "Keys that must have got it before others do",
        },
    ),
    Step(
        "semantic",
        "Semantic cache",
        "A question that means the same as an earlier one gets its answer. Bounded mode serves only as far as your own traffic "
        "proves that at most the chosen share is wrong; static mode trusts the threshold.",
        "",
        {
            "cache.semantic": "Mode",
            "cache.max_error_rate": "Bounded: largest share of wrong answers",
            "cache.threshold": "Static: least similarity",
            "cache.check_usd_per_day": "Checks of hits, USD a day",
            "cache.judge_model": "Judge where rules and vectors leave doubt, a model",
            "cache.judge_usd_per_day": "Judge, USD a day",
            "cache.embedder": "Embedder",
            "cache.also_embed_with": "Also embed with, one a line",
            "cache.embed_timeout_ms": "Wait for a vector at most, ms",
            "cache.embed_usd_per_day": "Vectors of a provider, USD a day",
            "cache.waived_rules": "Rules that are switched off",
            "cache.bypass_patterns": "Questions that are never cached: regular expressions, one a line",
        },
    ),
    Step(
        "provider_cache",
        "Provider's prompt cache",
        "Long prompts that begin alike are marked, so that the provider bills their beginning at its cached price.",
        "cache.provider_marks",
    ),
    Step(
        "refresh",
        "Refresh ahead of time",
        "The answers that are asked for most are bought again, at batch price, before they expire. Until then their questions "
        "are kept, encrypted.",
        "refresh.enabled",
        {
            "refresh.usd_per_month": "At most, USD a month",
            "refresh.least_hits": "Hits that make an answer worth it",
            "refresh.before_seconds": "Begin before it expires, seconds",
            "refresh.max_questions": "Most questions at one time",
            "refresh.private_keys": "Keys whose users' own answers may be refreshed, one a line",
        },
    ),
    Step(
        "routing",
        "Routing",
        "A request to auto gets the cheapest model that can do it. Off, auto takes the default tier.",
        "routing.enabled",
        {
            "routing.default_tier": "Tier where no rule matches",
            "routing.baseline_model": "Savings are measured against, a model (empty: the cheapest of the complex tier)",
            "routing.output_limit": "A named model without max_tokens gets the maximum of",
            "default_max_tokens.simple": "max_tokens of auto, simple tier",
            "default_max_tokens.standard": "max_tokens of auto, standard tier",
            "default_max_tokens.complex": "max_tokens of auto, complex tier",
        },
    ),
    Step(
        "compression",
        "Compression",
        "Prompts get shorter without losing their sense: white space, doubled messages and compact JSON; older turns only if you "
        "say so.",
        "compression.enabled",
        {
            "compression.whitespace": "White space",
            "compression.json": "Compact JSON",
            "compression.duplicates": "Doubled examples and messages",
            "compression.history_turns": "Turns of history that are kept (0: all)",
        },
    ),
    Step(
        "pressure",
        "Budget pressure",
        "When a budget gets full, dear work moves to cheaper tiers and features that can wait are switched off, before anything "
        "is refused.",
        "",
        {
            "pressure": "Rules, one a line: “90 demote complex” or “95 only simple”; “named” at the end: also for named models",
            "features_off_at": "Features that are switched off, one a line: “name 90”; names may be globs",
            "budgets.stream_overrun": "A stream that outgrows its hold",
        },
    ),
    Step(
        "hedging",
        "Hedging",
        "If a provider's first byte is late, a second call goes out and the faster one answers. Both are paid. Off while no time "
        "is set.",
        "",
        {
            "hedging.after_ms": "Second call after, ms",
            "hedging.max_percent": "Of at most, percent of the calls",
            "hedging.whole_answers": "Also for calls that do not stream",
        },
    ),
    Step(
        "envelopes",
        "Run envelopes",
        "A hard budget of its own for each run or session of an agent, under all other budgets. A full one pauses the run "
        "until it is raised.",
        "",
        {
            "envelopes.opens": "Opened by",
            "envelopes.usd": "Amount, USD",
            "envelopes.most_usd": "Most that a caller may ask for, USD",
            "envelopes.own_raises": "Raises by the person whose run it is",
            "envelopes.hours": "It is over after, hours",
            "envelopes.most_open": "Most open at one time, of each user or key",
            "envelopes.shared_by": "Opened for several people by",
            "envelopes.users": "Amounts of users, one a line: “alice 10”",
            "envelopes.keys": "Amounts of keys, one a line: “ci 25”",
        },
    ),
    Step(
        "allocation",
        "Whose cost it is",
        "The cost centre, the project and the other tags of each call: what the request says, else its run, its key, its user, "
        "the user's team, and last the tenant. What lacks a required tag is refused, or counted as unallocated.",
        "",
        {
            "allocation.tags": "Tags of the tenant, one a line: “cost_center=4711”",
            "allocation.teams": "Teams with their tags, one a line: “search: cost_center=4711, project=apollo”",
            "allocation.required": "Tags that every call needs, one a line",
            "allocation.missing": "A call without one of them: refuse it, or mark it as unallocated",
            "allocation.fixed": "Tags that a request does not choose where somebody else names them, one a line",
        },
    ),
    Step(
        "self_service",
        "What members do for themselves",
        "In the portal members make keys of their own, within these bounds.",
        "",
        {
            "self_service.keys": "Keys of each person (0: none)",
            "self_service.key_days": "Longest life of such a key, days",
            "self_service.key_models": "Models that they may call, one a line",
            "self_service.key_rate_limits.rpm": "Each key: requests a minute",
            "self_service.key_rate_limits.tpm": "Each key: tokens a minute",
            "self_service.key_rate_limits.concurrency": "Each key: calls at one time",
        },
    ),
    Step(
        "structured",
        "Structured answers",
        "What becomes of an answer that does not fit the schema it was asked for.",
        "",
        {"structured_output": "It is"},
    ),
    Step(
        "deferred",
        "Work that may wait",
        "Deferred calls of one model go out together, at batch price, as soon as there are enough of them or one has waited long "
        "enough.",
        "",
        {
            "deferred.max_jobs": "Calls of one batch",
            "deferred.max_age_seconds": "Longest wait, seconds",
            "deferred.max_tokens": "Input tokens of one batch",
            "deferred.deadline_hours": "Deadline where none is named, hours",
            "deferred.concurrency": "In real time, calls at one time",
            "deferred.channel": "Notices go to the channel",
        },
    ),
    Step(
        "user_limits",
        "Limits of each user",
        "How much one end user may ask of your keys. Empty is no limit.",
        "",
        {
            "user_rate_limits.rpm": "Requests a minute",
            "user_rate_limits.tpm": "Tokens a minute",
            "user_rate_limits.concurrency": "Calls at one time",
        },
    ),
    Step(
        "storing",
        "What is stored",
        "Neither prompts nor answers are stored unless you say so here. Caches keep answers for as long as they may serve.",
        "",
        {
            "store_chats": "Chats that a client wants stored",
            "log_prompts": "Let people read the cache's questions and answers in the admin",
        },
    ),
)
PLATFORM: Final = Step(
    "platform",
    "Set by the platform",
    "Owners read these; only operators change them.",
    "",
    {
        "users.unknown": "A user who is not declared",
        "users.missing": "A call without a user, where users have budgets",
        "own_accounts_only": "Only provider accounts of its own",
        "closing.auto": "Months close by themselves",
        "closing.grace_hours": "After, hours",
        "closing.four_eyes": "What one person enters in the books, or asks to close, another approves",
        "quotas.keys": "Most keys",
        "quotas.tag_names": "Most names of tags that callers bring along, a month",
        "quotas.tag_values": "Most values of each of them",
        "quotas.files": "Most files",
        "quotas.file_bytes": "Files, bytes",
        "quotas.chats": "Most stored chats",
        "quotas.chat_bytes": "Stored chats, bytes",
        "quotas.open_batches": "Most open batches",
        "quotas.open_jobs": "Most open deferred calls",
        "quotas.job_bytes": "Deferred calls, bytes",
    },
)


def steps() -> list[Step]:
    """All steps that have a field, the rest last."""
    taken = {path for step in (*NAMED, PLATFORM) for path in step.paths}
    rest = [path for path in policy_fields() if path not in taken]
    labels = {".".join(path): " ".join(path).replace("_", " ").capitalize() for path in rest}
    more = Step("more", "More", "Fields that belong to no step.", "", labels)
    return [*NAMED, PLATFORM, *([more] if rest else [])]


def is_platforms(path: Path) -> bool:
    """Whether only operators change the field."""
    return path[0] in PLATFORM_POLICY
