"""The watches over budgets: where a forecast says that one will not last, and envelopes of runs that are nearly used.

Invariant: only budgets of tenants with a rule are looked at, and of each tenant a bounded number, the fullest first.
"""

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from billing.alerts.findings import Finding
from billing.alerts.metrics import facts_of, with_unit
from billing.alerts.rules import RULES, parameters
from billing.planning.forecasts import Forecast, Window, forecast_windows, open_windows

FORECAST: Final = "forecast_percent"
ENVELOPE: Final = "envelope_percent"
MOST_BUDGETS: Final = 200  # of a tenant
MOST_ENVELOPES: Final = 1_000  # of all tenants, at one time

WATCHED: Final = f"SELECT r.tenant_id, r.rule_id, r.threshold, r.slug FROM {RULES} r ORDER BY r.tenant_id"
ENVELOPES: Final = f"""
SELECT r.tenant_id, r.rule_id, r.threshold, r.slug, e.budget_id, e.run, l.amount, w.spent + w.held,
       100 * (w.spent + w.held) / l.amount AS percent
FROM {RULES} r
JOIN billing_runenvelope e ON e.tenant_id = r.tenant_id AND e.is_open AND e.expires_at > %(at)s
JOIN billing_limit_now l ON l.budget_id = e.budget_id AND l.amount > 0
JOIN billing_budgetwindow w ON w.budget_id = e.budget_id
WHERE 100 * (w.spent + w.held) >= r.threshold * l.amount AND w.spent + w.held > 0
ORDER BY percent DESC, e.budget_id LIMIT %(most)s
"""


def forecasts(*, at: datetime) -> list[Finding]:
    """Budgets that will be used beyond a threshold when their period ends, by the middle of their forecast."""
    with connection.cursor() as cursor:
        cursor.execute(WATCHED, parameters(FORECAST))
        rules: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in cursor.fetchall():
            rules[row[0]].append(row)
    found = []
    for tenant_id, of_tenant in rules.items():
        windows = [
            one
            for one in open_windows([tenant_id], limit=MOST_BUDGETS, at=at)
            if one.ends_at is not None and one.limit > 0
        ]
        seen = forecast_windows(windows, at=at)
        found += [
            _forecast(rule, window, seen[window.key], at=at)
            for window in windows
            for rule in of_tenant
            if seen[window.key].is_known and _percent(window, seen[window.key]) >= rule[2]
        ]
    return found


def envelopes(*, at: datetime) -> list[Finding]:
    """Open envelopes of which a share is spent or held."""
    with connection.cursor() as cursor:
        cursor.execute(ENVELOPES, {"at": at, "most": MOST_ENVELOPES, **parameters(ENVELOPE)})
        rows = cursor.fetchall()
    return [
        Finding(
            tenant_id, ENVELOPE, f"envelope/{budget_id}", round(percent, 1), threshold,
            rule_id=rule_id, budget_id=budget_id, at=at,
            message=f"Run {run} of {slug} has used {used:.4f} of the {limit:.2f} USD of its envelope ({percent:.1f} %)",
            facts={"run": run, "used_usd": f"{used:.6f}", "limit_usd": f"{limit:.6f}"},
        )
        for tenant_id, rule_id, threshold, slug, budget_id, run, limit, used, percent in rows
    ]  # fmt: skip


def _percent(window: Window, forecast: Forecast) -> Decimal:
    return 100 * forecast.middle / window.limit


def _forecast(rule: tuple[Any, ...], window: Window, forecast: Forecast, *, at: datetime) -> Finding:
    tenant_id, rule_id, threshold, slug = rule
    percent = _percent(window, forecast)
    whose = f"{window.scope} {window.subject}" if window.subject else window.scope
    message = (
        f"The {window.period} budget of {slug} ({whose}) will be used to {percent:.0f} %: {forecast.middle:.2f} of "
        f"{window.limit:.2f} {window.unit} by {forecast.ends_at:%Y-%m-%d %H:%M} UTC, likely {forecast.low:.2f} to "
        f"{forecast.high:.2f}; {with_unit(FORECAST, threshold)} is the rule"
    )
    return Finding(
        tenant_id, FORECAST, f"budget/{window.budget_id}/{window.subject}", round(percent, 1), threshold, message, at,
        rule_id=rule_id, budget_id=window.budget_id,
        facts={"spent": f"{window.spent:.6f}", "limit": f"{window.limit:.6f}", "forecast": f"{forecast.middle:.6f}"},
        ends_at=min(at + facts_of(FORECAST).quiet, forecast.ends_at),
    )  # fmt: skip
