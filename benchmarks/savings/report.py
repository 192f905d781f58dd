"""Scales the runs to a month and writes what they say, as figures and as text.

Invariant: a month's amount is the ledger's, times the requests of a month over those of the run; nothing is computed that is
not booked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from benchmarks.savings.books import Booked
from benchmarks.savings.bounds import Share
from benchmarks.savings.quality import Dropped, Quality
from benchmarks.savings.steps import CHOICES, MARKETS, STEPS, Market, Step

REQUESTS_OF_A_MONTH = 100_000 * 30
SOURCES_BEFORE, SOURCES_AFTER = 105_000, 31_000


@dataclass(frozen=True, slots=True)
class Result:
    """One run: its books and its answers."""

    market: Market
    step: Step
    booked: Booked
    quality: Quality
    seconds: float

    def month(self, amount_usd: Decimal) -> Decimal:
        """An amount of the run, for the requests of a month."""
        return amount_usd * REQUESTS_OF_A_MONTH / self.booked.requests


def progress(result: Result) -> str:
    """A line while the benchmark runs."""
    booked = result.booked
    return (
        f"{result.market.name:8} {result.step.title:36} {booked.requests:6} requests {booked.hits:5} hits "
        f"{result.month(booked.billed_usd):>10,.0f} USD a month {result.seconds:6.0f} s"
    )


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Everything, for the file."""
    return {
        "month": {
            market.name: [_line(one, before) for one, before in _with_baseline(results, market)]
            for market in MARKETS
        },
        "choices": [_line(_named(results, step.name), _first(results, MARKETS[0])) for step in CHOICES],
        "runs": [
            {
                "market": result.market.name,
                "step": result.step.name,
                "models": result.market.models,
                "policy": result.step.policy_in(result.market),
                "seconds": round(result.seconds, 1),
                "ledger": _plain(asdict(result.booked)),
                "quality": _plain(asdict(result.quality)),
            }
            for result in results
        ],
    }


def markdown(results: Sequence[Result], dropped: Dropped, *, requests: int, seed: int, calls: int) -> str:
    """The report that people read."""
    return "\n".join(
        [
            "# What a month costs",
            "",
            f"By `make bench-savings` with REQUESTS={requests}, SEED={seed}. {calls:,} calls were booked, and the sandbox's "
            "invoice has the same ones with the same tokens. A month has 3,000,000 requests.",
            *(line for market in MARKETS for line in _table(results, market)),
            *_attribution(results),
            *_answers(results),
            *_choices(results),
            *_compression(dropped),
            *_batches(results),
            "",
        ]
    )


def _table(results: Sequence[Result], market: Market) -> Iterable[str]:
    yield from ("", f"## With {market.title}, {market.premium}", "")
    yield f"`auto` chooses among {', '.join(f'{name} ({tier})' for name, tier in market.models.items())}, at list prices."
    yield from ("", "| step | USD a month | this step | in all | hits | input tokens | of them cached |")
    yield "|---|---|---|---|---|---|---|"
    previous: Result | None = None
    for result, baseline in _with_baseline(results, market):
        booked = result.booked
        amount = result.month(booked.billed_usd)
        step = "" if previous is None else f"{_change(booked.billed_usd, previous.booked.billed_usd)}"
        in_all = "" if result is baseline else _change(booked.billed_usd, baseline.booked.billed_usd)
        tokens = booked.input_tokens + booked.cached_tokens
        cached = booked.cached_tokens / tokens if tokens else 0
        yield (
            f"| {result.step.title} | {amount:,.0f} | {step} | {in_all} | {booked.hits / booked.requests:.1%} "
            f"| {result.month(Decimal(tokens)) / 1_000_000:,.0f} M | {cached:.0%} |"
        )
        previous = result
    if market is MARKETS[0]:
        change = SOURCES_AFTER / SOURCES_BEFORE - 1
        yield from ("", f"The sources: {SOURCES_BEFORE:,} become {SOURCES_AFTER:,} ({change:+.1%}).")


def _attribution(results: Sequence[Result]) -> Iterable[str]:
    yield from ("", "## The same by the last ledger's own columns", "")
    yield "`list_cost`, `saving` by step and `billed_cost` of the runs with everything on, by the month report:"
    yield from (
        "",
        "| | USD a month, " + " | USD a month, ".join(market.premium for market in MARKETS) + " |",
    )
    yield "|---|" + "---|" * len(MARKETS)
    ends = [(_first(results, market), _last(results, market)) for market in MARKETS]
    lasts = [last for _, last in ends]
    yield _row("list cost: what it would have cost", [one.month(one.booked.list_usd) for one in lasts])
    for name in dict.fromkeys(name for one in lasts for name in one.booked.savings):
        saved = [one.month(one.booked.savings.get(name, Decimal(0))) for one in lasts]
        yield _row(f"saved by {name}", [-amount for amount in saved])
    yield _row("billed", [one.month(one.booked.billed_usd) for one in lasts])
    yield _row("of that the cache's own checks", [one.month(one.booked.own_usd) for one in lasts])
    yield _row(
        "list cost here, less the first run's bill",
        [last.month(last.booked.list_usd) - first.month(first.booked.billed_usd) for first, last in ends],
    )


def _answers(results: Sequence[Result]) -> Iterable[str]:
    last, routed = _last(results, MARKETS[0]), _named(results, "routing")
    found = last.quality
    yield from ("", "## What it does to the answers", "")
    yield from ("| with everything on | | 95 % limits |", "|---|---|---|")
    for title, one in (
        ("wrong exact hits, of exact hits", found.wrong_exact),
        ("wrong semantic hits, of semantic hits", found.wrong_semantic),
        ("wrong hits, of all requests", found.wrong_of_all),
        ("reworded requests that hit, of all reworded", found.reworded_hits),
        ("complex requests served below the complex tier", found.under_served),
        ("other requests served by the complex tier", found.over_served),
    ):
        yield f"| {title} | {one.count} of {one.of} ({one.share:.2%}) | {one.low:.2%} to {one.high:.2%} |"
    for title, average in (
        ("fewer correct answers than with the premium model", found.loss),
        ("the same, of complex questions alone", found.loss_of_complex),
    ):
        yield (
            f"| {title} | {100 * average.mean:.1f} points of {average.of} questions "
            f"| {100 * average.low:.1f} to {100 * average.high:.1f} |"
        )
    yield from (
        "",
        f"Correct by published outcomes: {found.correct_premium:.1%} with the strong model for all, {found.correct_here:.1%} "
        f"here, {found.correct_weaker:.1%} with the weaker one for all.",
        "",
        "Which tier answers which kind of work, without caches (requests of the routed run):",
        "",
        "| | simple | standard | complex |",
        "|---|---|---|---|",
    )
    for kind, tiers in routed.quality.tiers.items():
        yield (
            f"| {kind} | " + " | ".join(str(tiers[tier]) for tier in ("simple", "standard", "complex")) + " |"
        )


def _choices(results: Sequence[Result]) -> Iterable[str]:
    yield from ("", "## Other choices", "")
    yield "The same day with everything on and one thing different, at the sources' premium model:"
    yield from ("", "| | USD a month | in all | wrong semantic hits | complex served below | fewer correct |")
    yield "|---|---|---|---|---|---|"
    before = _first(results, MARKETS[0]).booked.billed_usd
    for result in (_named(results, "all"), *(_named(results, step.name) for step in CHOICES)):
        found, booked = result.quality, result.booked
        title = result.step.title if result.step in CHOICES else "as above (`auto`), nothing deferred"
        yield (
            f"| {title} | {result.month(booked.billed_usd):,.0f} | {_change(booked.billed_usd, before)} "
            f"| {_short(found.wrong_semantic)} | {_short(found.under_served)} "
            f"| {100 * found.loss.mean:.1f} points ({100 * found.loss.low:.1f} to {100 * found.loss.high:.1f}) |"
        )


def _short(one: Share) -> str:
    return f"{one.count} of {one.of}" + (f" ({one.low:.0%} to {one.high:.0%})" if one.of else "")


def _compression(dropped: Dropped) -> Iterable[str]:
    yield from ("", "## What compression takes out", "")
    yield (
        f"{dropped.shortened} of {dropped.requests} requests become shorter, by {dropped.tokens:,} of {dropped.of_tokens:,} "
        f"tokens ({dropped.tokens / dropped.of_tokens:.1%}), and lose {dropped.characters:,} characters that are no blanks."
    )


def _batches(results: Sequence[Result]) -> Iterable[str]:
    yield from ("", "## Calls that may wait", "")
    yield (
        "A third of the calls say `x-purser-urgency: deferred` in the last step: what the caches do not have goes out in batches "
        "of the product's own. From the ledger of that run:"
    )
    yield from (
        "",
        "| | bought in batches | in real time | they cost | at the online price of the same tokens | saved |",
        "|---|---|---|---|---|---|",
    )
    for market in MARKETS:
        last = _last(results, market)
        booked = last.booked
        saved = _change(booked.batches_usd, booked.batches_online_usd) if booked.batches_online_usd else "–"
        yield (
            f"| {market.premium} | {booked.batch_calls} | {booked.calls_online} | {last.month(booked.batches_usd):,.0f} "
            f"| {last.month(booked.batches_online_usd):,.0f} | {saved} |"
        )
    yield from (
        "",
        "A batch reads nothing from the provider's prompt cache here; where that is the larger discount, waiting saves less.",
    )


def _line(result: Result, baseline: Result) -> dict[str, Any]:
    before = baseline.booked.billed_usd
    return {
        "step": result.step.name,
        "usd_a_month": round(float(result.month(result.booked.billed_usd))),
        "saved": round(1 - float(result.booked.billed_usd / before), 4),
    }


def _with_baseline(results: Sequence[Result], market: Market) -> list[tuple[Result, Result]]:
    own = [result for result in results if result.market is market and result.step in STEPS]
    return [(result, own[0]) for result in own]


def _first(results: Sequence[Result], market: Market) -> Result:
    return _with_baseline(results, market)[0][0]


def _last(results: Sequence[Result], market: Market) -> Result:
    return _with_baseline(results, market)[-1][0]


def _named(results: Sequence[Result], name: str) -> Result:
    return next(result for result in results if result.step.name == name)


def _row(title: str, amounts: Sequence[Decimal]) -> str:
    return f"| {title} | " + " | ".join(f"{amount:,.0f}" for amount in amounts) + " |"


def _change(amount: Decimal, before: Decimal) -> str:
    return f"{amount / before - 1:+.1%}"


def _plain(value: Any) -> Any:
    """As JSON has it: amounts as text."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return str(value) if isinstance(value, Decimal) else value
