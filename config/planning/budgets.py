"""Budgets against actual: how fast each is used, where it ends, and how good such forecasts have been.

Invariant: what is shown as spent is what admission counts with.
"""

from typing import Any, Final

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.admin.figures import amount_of, percent, usd
from billing.models import ForecastTrial
from billing.planning.forecasts import (
    Forecast,
    Window,
    forecast_tenants,
    forecast_total,
    forecast_windows,
    open_windows,
)
from billing.planning.pace import pace_of, runway_of
from config.planning.parts import Chosen, Part, budget_name, said, span_of
from config.site import cells
from tenants.models import Tenant

WINDOWS_SHOWN: Final = 50
TENANTS_SHOWN: Final = 50


def parts(chosen: Chosen) -> list[Part]:
    """The month, then budgets from the fullest on, then tenants by what they will spend."""
    tenants = Tenant.objects.in_bulk(chosen.tenant_ids[: 10 * TENANTS_SHOWN])
    trials = ForecastTrial.objects.in_bulk(list(tenants))
    return [
        _month(chosen, trials),
        _budgets(chosen),
        *([] if chosen.tenant else [_tenants(chosen, tenants, trials)]),
    ]


def _month(chosen: Chosen, trials: dict[int, ForecastTrial]) -> Part:
    total = forecast_total(chosen.tenant_ids, at=chosen.at)
    looks = sum(trial.looks for trial in trials.values())
    covered = sum(trial.covered for trial in trials.values())
    measured = f"{covered} of {looks} forecasts of the last twelve weeks" if looks else "measured every night"
    cards = [
        {"title": "Spent this month", "value": usd(total.spent), "note": f"{total.time_percent:.0f} % of the month (UTC) gone"},
        {"title": "At its end", "value": said(total.middle) if total.is_known else "–", "note": total.note},
        {"title": "Nine times in ten", "value": span_of(total) if total.is_known else "–", "note": "between low and high"},
        {"title": "Intervals that held", "value": percent(covered, looks), "note": f"{measured}; 90 % is meant"},
    ]  # fmt: skip
    return Part("The month to its end", cards=cards)


def _budgets(chosen: Chosen) -> Part:
    windows = open_windows(chosen.tenant_ids, limit=WINDOWS_SHOWN, at=chosen.at)
    forecasts = forecast_windows(windows, at=chosen.at)
    slugs = dict(Tenant.objects.filter(pk__in={one.tenant_id for one in windows}).values_list("pk", "slug"))
    rows = [_row(one, forecasts[one.key], slugs[one.tenant_id], chosen) for one in windows]
    heads = ["Budget", "Used", "Spent", "Limit", "Time gone", "Usually used", "Pace", "At its end", "Runway"]
    return Part(
        "Budgets against actual",
        "The fullest first. Beside the time that is gone stands what is usually used by then: a weekend is no workday.",
        table={
            "headers": heads,
            "rows": rows,
            "empty": "No budget is used at the moment.",
            "more": "Only the fullest are shown: choose a tenant." if len(rows) == WINDOWS_SHOWN else "",
        },
    )


def _row(window: Window, forecast: Forecast, slug: str, chosen: Chosen) -> list[Any]:
    pace, has_end = pace_of(window, forecast), window.ends_at is not None
    name = budget_name(window.scope, window.subject, window.unit, window.period)
    page = reverse("admin:billing_budget_change", args=(window.budget_id,))
    return [
        cells.link(page, name if chosen.tenant else f"{slug}: {name}"),
        cells.progress(pace.used_percent),
        amount_of(window.unit, window.spent),
        amount_of(window.unit, window.limit),
        f"{pace.time_percent:.0f} %" if has_end else "–",
        f"{pace.usual_percent:.0f} %" if has_end else "–",
        _loud(pace.word) if pace.word == "fast" and has_end else pace.word if has_end else "–",
        _whole(span_of(forecast, window.unit)) if has_end else "–",
        str(runway_of(window.limit, forecast))
        if forecast.is_known or forecast.spent >= window.limit
        else "–",
    ]


def _loud(text: str) -> SafeString:
    return format_html('<span class="p-change" data-state="alarm">{}</span>', text)


def _whole(text: str) -> SafeString:
    """In one line."""
    return format_html('<span class="p-figure">{}</span>', text)


def _tenants(chosen: Chosen, tenants: dict[int, Tenant], trials: dict[int, ForecastTrial]) -> Part:
    forecasts = forecast_tenants(list(tenants), at=chosen.at)
    largest = sorted(forecasts.items(), key=lambda one: (-one[1].middle, one[0]))
    rows = [
        _tenant_row(tenants[pk], forecast, trials.get(pk))
        for pk, forecast in largest[:TENANTS_SHOWN]
        if forecast.spent or forecast.middle
    ]
    return Part(
        "Tenants by what the month will be",
        "Held: how many of a tenant's own forecasts of the last twelve weeks had the result in their 90 % interval.",
        table={
            "headers": [
                "Tenant",
                "Spent, USD",
                "At its end, USD",
                "Nine times in ten",
                "Held",
                "Usual error",
            ],
            "rows": rows,
            "empty": "Nobody has spent anything this month.",
        },
    )


def _tenant_row(tenant: Tenant, forecast: Forecast, trial: ForecastTrial | None) -> list[Any]:
    has_looks = trial is not None and trial.looks > 0
    return [
        cells.link(f"?tenant={tenant.slug}", tenant.slug),
        forecast.spent,
        forecast.middle if forecast.is_known else None,
        span_of(forecast),
        f"{trial.covered} of {trial.looks}" if trial is not None and has_looks else "–",
        f"{trial.error_percent} %" if trial is not None and trial.error_percent is not None else "–",
    ]
