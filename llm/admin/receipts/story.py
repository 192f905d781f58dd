"""A receipt as a story: its steps and attempts in the order they happened, in words.

Invariant: every step of the receipt is one happening, also one that this module does not know: then its facts are shown as
they are. Ids and digests that only the product reads stay in the raw receipt.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString

from config.site import cells
from config.site.timeline import Happening, facts_of, for_reading, number_of

TITLES: Final = {
    "exact_cache": "Exact cache",
    "semantic_cache": "Semantic cache",
    "served": "Served from the cache",
    "route": "Model chosen",
    "compress": "Prompt compression",
    "account": "Account chosen",
    "hop": "Model passed over",
    "hold": "Budget held",
    "provider_cache": "Provider's prompt cache",
    "structured_output": "Structured output",
    "hedge": "Second request beside a slow one",
    "stream": "Stream",
    "stored": "Stored for later requests",
    "deferred": "Deferred",
    "idempotency": "Repeat of an earlier request",
    "refused": "Refused",
}
GOOD: Final = frozenset(
    {"hit", "held", "extended", "read", "compressed", "exact", "semantic", "valid", "repaired", "replay"}
)
ODD: Final = frozenset(
    {"skipped", "bypass", "cut", "passed over", "not repaired", "not sent", "not put together", "voided"}
)
BAD: Final = frozenset({"failed", "refused"})
# reasons that are one word in the receipt
REASONS: Final = {
    "empty": "Nothing is stored yet that this question could be compared with.",
    "below_threshold": "The nearest stored question is not near enough.",
    "closed": "Too little is known yet to reuse answers here.",
}
INTERNAL: Final = frozenset({"step", "outcome", "at_ms", "reason", "key", "scope", "attempt_id", "message"})
Linked = Callable[[str, Any], Any]  # of a fact's name and value
REQUESTS: Final = frozenset({"answer_of_request", "hit_of_request", "first_request_id"})


def admin_link(name: str, value: Any) -> Any:
    """An id that has a page of the admin, as a link to it."""
    if name == "entry_id" and isinstance(value, int):
        return cells.link(reverse("admin:caching_cacheentry_change", args=(value,)), f"cached answer {value}")
    if name in REQUESTS and isinstance(value, str):
        return request_link(value)
    return value


def story_of(receipt: Mapping[str, Any], *, linked: Linked = admin_link) -> list[Happening]:
    """All that happened, from the arrival to the answer. `linked` makes links of the ids that have a page for the reader."""
    steps, attempts = receipt.get("steps") or [], receipt.get("attempts") or []
    return [
        Happening("Arrived", at="0 ms", why=_asked(receipt)),
        *_between(steps, {attempt.get("attempt"): attempt for attempt in attempts}, receipt, linked),
        _end(receipt),
    ]


def _asked(receipt: Mapping[str, Any]) -> str:
    model = receipt.get("model_asked")
    manner = "streamed" if receipt.get("is_stream") else "in one piece"
    return (
        f"{receipt.get('endpoint', '')} for {model}, answered {manner}"
        if model
        else str(receipt.get("endpoint", ""))
    )


def _between(
    steps: list[Mapping[str, Any]],
    attempts: dict[Any, Mapping[str, Any]],
    receipt: Mapping[str, Any],
    linked: Linked,
) -> Iterator[Happening]:
    """The steps; each attempt stands after the last step that is about it."""
    last = {
        step.get("attempt"): position
        for position, step in enumerate(steps)
        if step.get("attempt") is not None
    }
    for position, step in enumerate(steps):
        yield _step(step, receipt, linked)
        number = step.get("attempt")
        if number in attempts and last[number] == position:
            yield _attempt(attempts[number])
    yield from (_attempt(attempt) for number, attempt in attempts.items() if number not in last)


def _step(step: Mapping[str, Any], receipt: Mapping[str, Any], linked: Linked) -> Happening:
    name, outcome = str(step.get("step", "")), str(step.get("outcome", ""))
    facts = {key: linked(key, value) for key, value in step.items() if key not in INTERNAL}
    table = None
    if name == "semantic_cache":
        table = _candidates(facts.pop("candidates", None) or [], linked)
    elif name == "route":
        table = _considered(receipt)
    elif name == "compress":
        facts.pop("steps", None)
    elif name == "hold":
        facts.pop("held_output_tokens", None)
    return Happening(
        TITLES.get(name, name.replace("_", " ").capitalize()),
        outcome.replace("_", " "),
        "alarm"
        if outcome in BAD or name == "refused"
        else "warning"
        if outcome in ODD
        else "well"
        if outcome in GOOD
        else "",
        _at(step.get("at_ms")),
        _sentence(step.get("message") or step.get("reason")),
        facts_of(facts),
        table,
    )


def _attempt(attempt: Mapping[str, Any]) -> Happening:
    where = f"{attempt.get('model', '')} at {attempt.get('provider', '')}" if attempt.get("model") else ""
    failed = attempt.get("code") and attempt.get("cost_usd") is None
    shown = {
        "why": attempt.get("why"),
        "cost_usd": attempt.get("cost_usd"),
        "certainty": attempt.get("certainty"),
        "usage_from": attempt.get("usage_source"),
        "upstream_status": attempt.get("upstream_status"),
        "provider's_request_id": attempt.get("upstream_id") or attempt.get("upstream_request_id"),
        "error": attempt.get("code"),
    }
    lines = attempt.get("lines") or []
    return Happening(
        f"Attempt {attempt.get('attempt')}",
        where,
        "alarm" if failed else "well" if attempt.get("cost_usd") is not None else "",
        why=_sentence(attempt.get("message") or attempt.get("reason")),
        facts=facts_of(shown),
        table=_lines(lines) if lines else None,
    )


def _end(receipt: Mapping[str, Any]) -> Happening:
    status = str(receipt.get("status") or "")  # a line of a batch has a word
    facts = {
        "first_token_ms": receipt.get("ttft_ms"),
        "at_the_provider_ms": receipt.get("provider_ms"),
        "left_of_the_budget": _left(receipt),
    }
    is_well = status == "completed" or (status.isdigit() and int(status) < 400)
    return Happening(
        "Answered" if is_well else "Ended",
        f"status {status}" if status else "",
        "well" if is_well else "alarm",
        _at(receipt.get("total_ms")),
        facts=facts_of(facts),
    )


def _left(receipt: Mapping[str, Any]) -> str | None:
    left = (receipt.get("result") or {}).get("budget_remaining")
    if not left:
        return None
    unit = "USD" if left.get("unit") == "usd" else left.get("unit", "")
    amount = number_of(left.get("remaining"))
    return f"{amount:,f} {unit} of the {left.get('budget', '')}" if amount is not None else None


def _candidates(candidates: list[Mapping[str, Any]], linked: Linked) -> dict[str, Any] | None:
    rows = [
        [
            linked("entry_id", one.get("entry_id")),
            f"{float(one.get('similarity') or 0):.4f}",
            for_reading("", one.get("differences") or []) or "none",
            *([one["question"]] if "question" in one else []),
        ]
        for one in candidates
    ]
    has_question = any("question" in one for one in candidates)
    headers = ["Candidate", "Similarity", "Differences", *(["Question"] if has_question else [])]
    return (
        {"headers": headers, "rows": [row + [""] * (len(headers) - len(row)) for row in rows]}
        if rows
        else None
    )


def _considered(receipt: Mapping[str, Any]) -> dict[str, Any] | None:
    considered = ((receipt.get("result") or {}).get("route") or {}).get("considered") or []
    rows = [
        [
            one.get("model", ""),
            one.get("tier") or "",
            _amount(one.get("expected_cost_usd")),
            one.get("rejected") or "could do it",
        ]
        for one in considered
    ]
    return {"headers": ["Considered", "Tier", "Expected, USD", "Verdict"], "rows": rows} if rows else None


def _lines(lines: list[Mapping[str, Any]]) -> dict[str, Any]:
    rows = [
        [
            str(line.get("meter", "")).replace("_", " "),
            line.get("quantity"),
            _price(line),
            _amount(line.get("cost_usd")),
        ]
        for line in lines
    ]
    return {"headers": ["Meter", "Quantity", "Price, USD", "Cost, USD"], "rows": rows}


def _price(line: Mapping[str, Any]) -> str | None:
    price = number_of(line.get("unit_price"))
    return None if price is None else f"{price:,f} per {line.get('per', 1):,}"


def request_link(request_id: str) -> SafeString | str:
    """A request's id as a link to its receipt; what is no id stays text."""
    try:
        UUID(request_id)
    except ValueError:
        return request_id
    return cells.link(reverse("admin:llm_requestlog_change", args=(request_id,)), request_id)


def _amount(value: Any) -> Decimal | None:
    return number_of(value)


def _at(milliseconds: Any) -> str:
    return "" if milliseconds is None else f"{float(milliseconds):,.1f} ms"


def _sentence(text: Any) -> str:
    code, _, rest = str(text or "").partition(": ")
    if code in REASONS and not rest:
        return REASONS[code]
    if " " not in code:  # a code by itself, or before its message
        code = code.replace("_", " ")
    return f"{code[:1].upper()}{code[1:]}{': ' if rest else ''}{rest}"
