"""What needs a person: alerts, budgets, requests for a raise, providers, batches, prices, models and months, each with its verb.

Invariant: a verb is a dialog of the page that owns it, which says what it does and checks who may do it; here are only links.
Each kind shows a bounded number of rows and leads to the list of all of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Max, Min, Model, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import now

from billing import incidents
from billing.admin.figures import amount_of, count, percent, usd
from billing.models import AlertEvent, BillingPeriod, Budget, PriceProposal, RaiseRequest
from billing.months.jobs.approving import asker_of, waits
from billing.planning.price_changes import MOST_SHOWN as MOST_PRICES
from billing.planning.price_changes import prices_ahead
from config.home import budgets
from config.home.choices import Choice
from config.site import cells
from llm.admin.deployment_states import States
from llm.models import Batch, BatchProgress, LanguageModel
from llm.retirements import Retirement, retirements
from tenants.policy import parse_policy

MOST_SHOWN: Final = 5  # of each kind
MOST_PERIODS: Final = 50  # looked at, because a policy says when each may be closed
ALERT_AGE: Final = timedelta(days=30)
PRICES_WITHIN: Final = timedelta(days=30)
MODELS_WITHIN: Final = timedelta(days=60)
DAYS_OF_ALARM: Final = 14  # before a model is shut down


@dataclass(frozen=True)
class Verb:
    """A button; `dialog` is the address of what it opens, `url` the page for browsers without scripts."""

    label: str
    dialog: str
    url: str


@dataclass(frozen=True)
class Need:
    """One line."""

    text: SafeString
    state: str = "warning"
    verbs: Sequence[Verb] = ()


def needs(request: HttpRequest, choice: Choice, states: States | None) -> list[Need]:
    """All lines, the most urgent kind first."""
    kinds = (
        _near_budgets(request, choice),
        _asked_raises(request, choice),
        _unwell(choice, states),
        _alerts(request, choice),
        _stuck_batches(request, choice),
        _proposals(request, choice),
        _retiring_models(choice),
        _coming_prices(choice),
        _closable_months(request, choice),
    )
    return [need for kind in kinds for need in kind]


def _alerts(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    open_alerts = AlertEvent.objects.filter(
        _of(choice, with_nobodys=True), incidents.in_state("open"), last_at__gte=now() - ALERT_AGE
    )
    groups = (
        open_alerts.order_by()
        .values("metric", "rule", "tenant", "tenant__slug")
        .annotate(
            events=Count("pk"), seen=Sum("count"), last=Max("last_at"), newest=Max("pk"), text=Min("message")
        )
        .order_by("-last")[: MOST_SHOWN + 1]
    )
    for group in groups[:MOST_SHOWN]:
        said = Truncator(group["text"]).chars(140)
        often = f", seen {count(group['seen'])} times" if group["seen"] > group["events"] else ""
        if group["events"] == 1:
            page = _page(AlertEvent, group["newest"])
            verbs = _verbs(request, AlertEvent, group["newest"], ("acknowledge", "Acknowledge"))
            yield Need(
                format_html("{} {}{}", cells.link(page, said), _whose(group["tenant__slug"]), often),
                "alarm",
                verbs,
            )
            continue
        whose = {f"{name}__id__exact": group[name] for name in ("tenant", "rule") if group[name]}
        query = urlencode({"state": "open", "metric": group["metric"], **whose})
        page = f"{_list(AlertEvent)}?{query}"
        many = cells.link(page, f"{count(group['events'])} alerts")
        yield Need(
            format_html("{} of one rule {}{}, such as: {}", many, _whose(group["tenant__slug"]), often, said),
            "alarm",
            [Verb("Look", "", page)],
        )
    yield from _more(groups, AlertEvent, "alerts", "state=open")


def _near_budgets(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    near = budgets.near_limit(choice, most=MOST_SHOWN + 1)
    known = Budget.objects.select_related("tenant").in_bulk([pk for pk, *_ in near])
    for pk, subject, used, limit in near[:MOST_SHOWN]:
        budget = known[pk]
        whose = f"{budget.get_scope_display()} {subject or budget.value}".strip()
        text = format_html(
            "{} has {} of its limit left: {} of {} {} per {} are used {}",
            cells.link(_page(Budget, pk), f"The budget of {whose}"),
            amount_of(budget.unit, max(limit - used, Decimal(0))),
            percent(used, limit) if limit else "all",
            amount_of(budget.unit, limit),
            "" if budget.unit == "usd" else budget.unit,
            budget.period,
            _whose(budget.tenant.slug),
        )
        verbs = _verbs(request, Budget, pk, ("raise_until", "Raise"), row=budget)
        yield Need(text, "alarm" if used >= limit else "warning", verbs)
    yield from _more(near, Budget, "budgets", "is_active__exact=1")


def _asked_raises(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    asked = RaiseRequest.objects.filter(
        _of(choice), state=RaiseRequest.State.PENDING, expires_at__gt=now()
    ).select_related("tenant", "budget", "requested_by")
    rows = list(asked.order_by("expires_at")[: MOST_SHOWN + 1])
    for row in rows[:MOST_SHOWN]:
        text = format_html(
            "{} asks for {} more until {} UTC {}: {}",
            cells.link(_page(RaiseRequest, row.pk), Truncator(row.asker).chars(60)),
            f"{amount_of(row.budget.unit, row.extra_amount)}{'' if row.budget.unit == 'usd' else f' {row.budget.unit}'}",
            f"{row.ends_at:%Y-%m-%d %H:%M}",
            _whose(row.tenant.slug),
            Truncator(row.reason).chars(120),
        )
        verbs = _verbs(request, RaiseRequest, row.pk, ("approve", "Approve"), ("refuse", "Refuse"), row=row)
        yield Need(text, "warning", verbs)
    yield from _more(rows, RaiseRequest, "requests for a raise", "state__exact=pending")


def _proposals(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    if not choice.is_operator:
        return
    rows = list(
        PriceProposal.objects.filter(status=PriceProposal.Status.PROPOSED).order_by("-created_at")[
            : MOST_SHOWN + 1
        ]
    )
    for row in rows[:MOST_SHOWN]:
        changes = len(row.diff.get("changes", ()))
        text = format_html(
            "{} would change {} rates; what is billed stays as it is until somebody approves",
            cells.link(_page(PriceProposal, row.pk), f"An import of {row.source}"),
            count(changes),
        )
        verbs = _verbs(request, PriceProposal, row.pk, ("approve", "Approve"), ("reject", "Reject"))
        yield Need(text, "warning", verbs)
    yield from _more(rows, PriceProposal, "price proposals", "status__exact=proposed")


def _retiring_models(choice: Choice) -> Iterator[Need]:
    """Operators see all of them, others those that their tenants spent on."""
    found = [
        one
        for one in retirements(choice.tenant_ids, today=choice.today, within=MODELS_WITHIN)
        if one.usd or choice.is_operator
    ]
    for one in found[:MOST_SHOWN]:
        page = _page(LanguageModel, one.id) if choice.is_operator else _ahead(choice)
        text = format_html(
            "{} {}; {} were spent on it in the last 30 days, {}",
            cells.link(page, one.model),
            _shut_down(one),
            usd(one.usd),
            f"its fallbacks are {', '.join(one.fallbacks)}" if one.fallbacks else "it has no fallback",
        )
        state = "alarm" if one.days_left <= DAYS_OF_ALARM else "warning"
        yield Need(text, state, [Verb("Look", "", _ahead(choice))])
    if len(found) > MOST_SHOWN:
        yield Need(cells.link(_ahead(choice), "More models that will be shut down"), "")


def _shut_down(one: Retirement) -> str:
    if one.days_left <= 0:
        return f"is shut down since {one.day}, and still offered"
    return f"will be shut down on {one.day}, in {one.days_left} {'day' if one.days_left == 1 else 'days'}"


def _coming_prices(choice: Choice) -> Iterator[Need]:
    """One line for all of them; others than operators see it if their tenants' money changes."""
    found = prices_ahead(choice.tenant_ids, at=now(), within=PRICES_WITHIN)
    known = [one.difference_usd for one in found if one.difference_usd is not None]
    if not found or not (any(known) or choice.is_operator):
        return
    total, unknown = sum(known, Decimal(0)), len(found) - len(known)
    money = f"{'-' if total < 0 else '+'}{usd(abs(total))} for usage like that of the last 30 days"
    text = format_html(
        "{} within {} days, the first on {}: {}",
        cells.link(
            _ahead(choice),
            "1 price changes"
            if len(found) == 1
            else f"{'At least ' if len(found) == MOST_PRICES else ''}{count(len(found))} prices change",
        ),
        PRICES_WITHIN.days,
        f"{found[0].valid_from.astimezone(UTC):%Y-%m-%d}",
        "sums by day do not say what that costs"
        if not known
        else f"{money}, without {count(unknown)} that sums by day do not know"
        if unknown
        else money,
    )
    yield Need(text, "warning", [Verb("Look", "", _ahead(choice))])


def _ahead(choice: Choice) -> str:
    whose = {"tenant": choice.tenant.slug} if choice.tenant else {}
    return f"{reverse('planning')}?{urlencode({'tab': 'ahead', **whose})}"


def _unwell(choice: Choice, states: States | None) -> Iterator[Need]:
    if not choice.is_operator:
        return
    url = reverse("admin:llm_deployments")
    if states is None:
        yield Need(format_html("{}", "Redis does not answer: nobody knows how the providers are"), "alarm")
        return
    resting = [(where, state) for where, state in sorted(states.deployments.items()) if state.resting_in]
    for (provider, model), state in resting[:MOST_SHOWN]:
        text = format_html(
            "{} rests in {} of {} processes, because calls to it failed",
            cells.link(url, f"{model} at {provider}"),
            state.resting_in,
            state.processes,
        )
        yield Need(text, "alarm", [Verb("Look", "", url)])
    for name, account in states.accounts.items():
        if account.paused_seconds:
            text = format_html(
                "{} pauses us for {} s more", cells.link(url, name), f"{account.paused_seconds:.0f}"
            )
            yield Need(text, "warning", [Verb("Look", "", url)])


def _stuck_batches(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    stuck = (
        BatchProgress.objects.filter(_of(choice, path="batch__tenant"))
        .exclude(stuck="")
        .select_related("batch__tenant")
    )
    rows = list(stuck.order_by("progressed_at")[: MOST_SHOWN + 1])
    for row in rows[:MOST_SHOWN]:
        batch = row.batch
        text = format_html(
            "{} does not go on {}: {}",
            cells.link(_page(Batch, batch.pk), f"Batch {batch.public_id[:18]}…"),
            _whose(batch.tenant.slug),
            Truncator(row.stuck).chars(160),
        )
        verbs = _verbs(request, Batch, batch.pk, ("requeue_one", "Look again now"), row=batch)
        yield Need(text, "alarm", verbs)
    yield from _more(rows, Batch, "batches", "")


def _closable_months(request: HttpRequest, choice: Choice) -> Iterator[Need]:
    at = now()
    ended = (
        BillingPeriod.objects.filter(_of(choice), ends_at__lte=at)
        .exclude(status=BillingPeriod.Status.CLOSED)
        .select_related("tenant", "close_asked_by")
        .order_by("starts_at")[:MOST_PERIODS]
    )
    first_of: dict[int, BillingPeriod] = {}
    for period in ended:  # the oldest month of a tenant comes first, and the others wait for it
        first_of.setdefault(period.tenant_id, period)
    due = [period for period in first_of.values() if at >= _closes_at(period)]
    for period in due[:MOST_SHOWN]:
        page = cells.link(_page(BillingPeriod, period.pk), f"The month {period.label}")
        if waits(period):
            said, verb = f"{asker_of(period)} asked for it", ("confirm_close", "Confirm close")
            text = format_html("{} waits to be closed {}: {}", page, _whose(period.tenant.slug), said)
        else:
            verb = ("close_month", "Close")
            text = format_html("{} can be closed {}", page, _whose(period.tenant.slug))
        is_mine = waits(period) and period.close_asked_by_id == request.user.pk
        verbs = [] if is_mine else _verbs(request, BillingPeriod, period.pk, verb, row=period)
        yield Need(text, "warning", verbs)
    yield from _more(due, BillingPeriod, "months", "status__exact=open")


def _closes_at(period: BillingPeriod) -> Any:
    return period.ends_at + timedelta(hours=parse_policy(period.tenant.policy).closing.grace_hours)


def _of(choice: Choice, *, path: str = "tenant", with_nobodys: bool = False) -> Q:
    """The rows of the chosen tenants; those of no tenant are the operators'."""
    if choice.tenant_ids is None:
        return Q() if with_nobodys else Q(**{f"{path}__isnull": False})
    return Q(**{f"{path}__in": list(choice.tenant_ids)})


def _verbs(
    request: HttpRequest, model: type[Model], pk: Any, *verbs: tuple[str, str], row: Any = None
) -> list[Verb]:
    """The verbs of a row's page that this person may use; each comes back to this page."""
    pages: Any = admin.site._registry[model]
    if not pages.has_operate_permission(request, row):
        return []
    page, back = _page(model, pk), urlencode({"back": request.get_full_path()})
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    return [Verb(label, f"{reverse(f'{name}_{verb}', args=(pk,))}?{back}", page) for verb, label in verbs]


def _more(rows: Iterable[Any], model: type[Model], what: str, query: str) -> Iterator[Need]:
    if len(list(rows)) > MOST_SHOWN:
        yield Need(format_html("{}", cells.link(f"{_list(model)}?{query}", f"More {what}")), "")


def _whose(slug: str | None) -> SafeString | str:
    return format_html('<span class="p-nil">({})</span>', slug) if slug else ""


def _page(model: type[Model], pk: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(pk,))


def _list(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
