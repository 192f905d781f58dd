"""The panels of the home page: charts of spend, outcomes, savings and tiers, and who spends most.

Invariant: display only. Each is made of what one statement read, and every column, name and share leads to what it is made of.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html

from billing.admin.figures import percent
from config.home import reading
from config.home.budgets import MonthBudgets
from config.home.choices import STACKS, TOPS, Choice
from config.home.reading import Answers, Day
from config.site import cells, plots
from config.site.plots import Column, Series, Step
from tenants.models import Tenant

# what leads from the list price to what is paid; those that few have are shown where they are not nothing
SAVINGS: Final = {
    "gateway_cache": "Our cache",
    "routing": "Routing",
    "compression": "Compression",
    "provider_cache": "Provider's cache",
    "batch": "Batch",
    "negotiated": "Negotiated prices",
    "further_calls": "Hedges, fallbacks, repairs",
    "corrections": "Corrections",
    "adjustments": "Adjustments",
    "credits": "Credits",
    "commitments": "Minimum commitments",
}
COMMON_SAVINGS: Final = ("Our cache", "Routing", "Compression", "Batch")
TIERS: Final = (("simple", 9), ("standard", 1), ("complex", 2))


def spend(choice: Choice, budgets: MonthBudgets) -> dict[str, Any]:
    """Spend by day, stacked, with what the month's budgets give for a day."""
    columns = _columns(choice)
    found = reading.stack(choice)
    names = _slugs(name for _, name in found) if choice.stack == "tenant" else {}
    series = [
        Series(
            names.get(name, name) or ("others" if place == 0 else "none"),
            [sum((by_day.get(day, Decimal(0)) for day in days), start=Decimal(0)) for _, days in columns],
            place or plots.REST,
            _narrowed(choice, names.get(name, name)) if place else "",
        )
        for (place, name), by_day in sorted(found.items(), key=lambda item: item[0][0] or plots.REST)
    ]
    a_day = budgets.a_day(
        choice.today
    )  # a pace for those who have a budget, beside the spend of all, would mislead
    length = len(columns[0][1]) if columns else 1
    return {
        "chart": plots.stacked(
            [column for column, _ in columns],
            series,
            title=f"Spend by {choice.stack}, USD",
            line=a_day * length if a_day else None,
            line_name="the monthly budgets' pace",
        ),
        "tabs": _tabs(choice, STACKS, "by", choice.stack),
    }


def outcomes(choice: Choice, answers: Mapping[date, Answers]) -> dict[str, Any]:
    """Requests by day and how they ended."""
    columns = _columns(choice)
    series = [
        Series(
            name,
            [sum(answers[day].outcomes[outcome] for day in days if day in answers) for _, days in columns],
            colour,
            choice.requests(outcome=found_as),
        )
        for outcome, name, colour, found_as in plots.OUTCOMES
    ]
    return plots.stacked([column for column, _ in columns], series, title="Requests by outcome")


def savings(choice: Choice, days: Mapping[date, Day]) -> dict[str, Any]:
    """From the list price to what is paid."""
    whole = sum((days[day] for day in choice.span.days if day in days), start=Day())
    kinds = reading.savings(choice)
    steps = [Step(name, -kinds.pop(kind, Decimal(0))) for kind, name in SAVINGS.items()]
    steps = [step for step in steps if step.amount or step.name in COMMON_SAVINGS]
    steps += [Step(kind.replace("_", " ").capitalize(), -amount) for kind, amount in sorted(kinds.items())]
    explained = sum((step.amount for step in steps), start=Decimal(0))
    rest = whole.billed - whole.listed - explained
    steps += [Step("Other", rest)] if rest else []
    return {
        "rows": plots.waterfall(
            [
                Step("List price", whole.listed, is_whole=True),
                *steps,
                Step("Paid", whole.billed, is_whole=True),
            ]
        ),
        "note": f"{percent(whole.saved, whole.listed)} saved" if whole.listed else "",
        "is_empty": not (whole.listed or whole.billed),
    }


def tiers(choice: Choice) -> dict[str, Any]:
    """Which tier answered; a request that names its model has none."""
    found = {tier: requests for tier, requests, _ in reading.tiers(choice)}
    parts = [(tier, found.pop(tier, 0), colour, choice.requests()) for tier, colour in TIERS]
    parts.append(("no tier: a named model", sum(found.values()), plots.REST, choice.requests()))
    return plots.donut(parts)


def tops(choice: Choice) -> dict[str, Any]:
    """Who or what spends most."""
    rows = reading.tops(choice)
    widest = max((row[4] for row in rows), default=Decimal(0))
    table = [
        [
            _named(choice, row),
            plots.share(row[4], widest),
            row[4],
            row[5],
            row[2],
            percent(row[3], row[2]),
        ]
        for row in rows
    ]
    title = dict(TOPS)[choice.top].removesuffix("s")
    return {
        "table": {
            "headers": [title, "", "Spent, USD", "Saved, USD", "Requests", "Cached"],
            "rows": table,
            "empty": "Nothing in this time.",
        },
        "tabs": _tabs(choice, TOPS, "top", choice.top),
    }


def _named(choice: Choice, row: Sequence[Any]) -> Any:
    tenant_id, value, _, _, _, _, slug, name, key_name, key_id = row
    beside = (
        format_html(' <span class="p-nil">({})</span>', slug)
        if slug and not choice.tenant and choice.top != "tenant"
        else ""
    )
    if choice.top == "tenant":
        return format_html(
            '{} <a class="p-nil" href="{}">only this</a>',
            cells.link(reverse("admin:tenants_tenant_change", args=(tenant_id,)), name or slug),
            choice.here(tenant=slug),
        )
    if choice.top == "key":
        if key_id is None:
            return format_html("{}{}", f"key {value}" if value else "no key", beside)
        return format_html(
            "{}{}", cells.link(reverse("admin:tenants_apikey_change", args=(key_id,)), key_name), beside
        )
    if not value:
        return format_html("none{}", beside)
    narrowed = {choice.top: value, **({"tenant": slug} if slug else {})}
    return format_html("{}{}", cells.link(choice.requests(None, **narrowed), value), beside)


def _narrowed(choice: Choice, name: str) -> str:
    """Where a name in the legend leads: a tenant to its own home page, others to their requests."""
    if choice.stack == "tenant":
        return choice.here(tenant=name)
    return choice.requests(None, **{choice.stack: name}) if name else ""


def _tabs(choice: Choice, choices: Sequence[tuple[str, str]], name: str, chosen: str) -> list[dict[str, Any]]:
    return [
        {"title": title, "url": choice.here(**{name: value}), "is_open": value == chosen}
        for value, title in choices
    ]


def _columns(choice: Choice) -> list[tuple[Column, list[date]]]:
    """A column for each day, or for several where there would be too many."""
    days = choice.span.days
    length = -(-len(days) // plots.MOST_COLUMNS)
    groups = [days[place : place + length] for place in range(0, len(days), length)]
    return [(Column(_label(group), _of_days(choice, group)), group) for group in groups]


def _label(days: Sequence[date]) -> str:
    return f"{days[0]:%d %b}" if len(days) == 1 else f"{days[0]:%d %b} – {days[-1]:%d %b}"


def _of_days(choice: Choice, days: Sequence[date]) -> str:
    query = {"from": days[0].isoformat(), "to": days[-1].isoformat()}
    whose = {"tenant": choice.tenant.slug} if choice.tenant else {}
    return f"{reverse('admin:llm_requestlog_changelist')}?{urlencode({**whose, **query})}"


def _slugs(ids: Any) -> dict[str, str]:
    pks = [int(one) for one in ids if one]
    return {str(pk): slug for pk, slug in Tenant.objects.filter(pk__in=pks).values_list("pk", "slug")}
