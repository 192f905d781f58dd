"""Pages of budgets: what limits the visitor, what she asked for, and for an owner all budgets and what waits for a decision.

Invariant: a raise is asked for only of a budget that limits the visitor, or by those who see all. Owners decide about the
tenant's own budgets; what the platform set, its operators change and raise.
"""

from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.timezone import now
from django.views.decorators.http import require_POST

from billing.admin.budget_state import used_percent, usual_end, with_usage
from billing.budgets.editing import retire_budget, set_budget
from billing.budgets.raise_requests import approve_raise, refuse_raise, request_raise
from billing.models import Budget, RaiseRequest
from billing.money import plain
from config.portal.access import Visitor, page
from config.portal.balances import balances_of, bars, in_unit, places_in
from config.portal.forms import BudgetForm, DecisionForm, LimitForm, RaiseForm, take_errors
from config.portal.layout import address, show
from config.site import cells
from tenants.people.rights import Right

MOST_SHOWN: Final = 100
MOST_ASKED: Final = 30
MOST_PENDING_EACH: Final = 3  # of one person for one budget
PREFILLED: Final = ("extra_amount", "ends_at", "reason")

State = RaiseRequest.State


@page()
def list_budgets(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """What limits the visitor and what she asked for; for those who see all, every budget."""
    context: dict[str, Any] = {
        "own": bars(visitor, balances_of(visitor), link=address(visitor, "budgets")),
        "asked": _asked_table(visitor, visible_requests(visitor)),
    }
    if visitor.reads_all:
        context["everybody"] = _budgets_table(visitor)
    return show(request, visitor, "budgets.html", context, title="Budgets")


@page()
def show_budget(request: HttpRequest, visitor: Visitor, budget_id: int) -> HttpResponse:
    """One budget: its state, its raises, and the ways to get or to give more."""
    budget = _find(visitor, budget_id)
    own = [one for one in balances_of(visitor) if one.budget_id == budget.pk]
    context = {
        "budget": budget,
        "own": bars(visitor, own) if own else None,
        "whole": _whole(budget) if visitor.reads_all else None,
        "raises": _raises_table(visitor, budget),
        "asked": _asked_table(visitor, visible_requests(visitor).filter(budget=budget)),
        "may_change": visitor.may(Right.CONFIGURE)
        and budget.set_by == Budget.SetBy.TENANT
        and budget.is_active,
        "limit": LimitForm(initial={"limit_amount": plain(budget.limit_amount), "mode": budget.mode}),
    }
    return show(request, visitor, "budget.html", context, title=_title(str(budget)))


@page()
def ask_raise(request: HttpRequest, visitor: Visitor, budget_id: int) -> HttpResponse:
    """Ask for more of a budget; a request page that knows what was missing fills the form in."""
    budget = _find(visitor, budget_id)
    initial = {
        "ends_at": usual_end(budget),
        **{name: request.GET[name] for name in PREFILLED if name in request.GET},
    }
    form = RaiseForm(request.POST or None, initial=initial)
    form.fields["extra_amount"].label = f"More, {budget.get_unit_display()}"
    if request.method == "POST" and form.is_valid():
        try:
            _check_pending(visitor, budget)
            asked = request_raise(
                budget, **form.cleaned_data, end_user=visitor.person, acting_user=visitor.user
            )
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(
                request, "Asked for. The people who decide are notified; the answer stands here."
            )
            return redirect(address(visitor, "raise_request", asked_id=asked.pk))
    context = {
        "form": form,
        "verb": "Ask for it",
        "back": address(visitor, "budget", budget_id=budget.pk),
        "effect": "Nothing changes yet. The people who decide are notified, and once it is granted calls may use it at once.",
        "facts": [("Budget", str(budget))],
    }
    return show(request, visitor, "form.html", context, title="Ask for a raise")


@page()
def show_request(request: HttpRequest, visitor: Visitor, asked_id: UUID) -> HttpResponse:
    """What was asked for and what became of it; an owner decides here."""
    asked = get_object_or_404(visible_requests(visitor), pk=asked_id)
    is_open = asked.state == State.PENDING and asked.expires_at > now()
    context = {
        "asked": asked,
        "facts": _asked_facts(visitor, asked),
        "may_decide": is_open and _may_decide(visitor, asked.budget),
        "is_open": is_open,
        "decision": DecisionForm(),
    }
    return show(request, visitor, "raise_request.html", context, title="Request for a raise")


@page(Right.CONFIGURE)
@require_POST
def decide(request: HttpRequest, visitor: Visitor, asked_id: UUID) -> HttpResponse:
    """Grant or refuse what was asked for."""
    asked = get_object_or_404(visible_requests(visitor), pk=asked_id)
    if not _may_decide(visitor, asked.budget):
        raise PermissionDenied
    form = DecisionForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    try:
        if request.POST.get("verdict") == "grant":
            approve_raise(asked, acting_user=visitor.user, reason=reason)
            messages.success(request, "Granted: it counts from now on.")
        else:
            refuse_raise(asked, acting_user=visitor.user, reason=reason)
            messages.success(request, "Refused; the person who asked reads why.")
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect(address(visitor, "raise_request", asked_id=asked.pk))


@page(Right.CONFIGURE)
def add_budget(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Limit something that has no such limit yet."""
    wanted = {name: request.GET[name] for name in ("scope", "value") if name in request.GET}
    form = BudgetForm(request.POST or None, initial=wanted)
    if request.method == "POST" and form.is_valid():
        what = {name: form.cleaned_data[name] for name in ("scope", "value", "unit", "period")}
        try:
            if Budget.objects.filter(tenant=visitor.tenant, is_active=True, **what).exists():
                raise ValidationError("There is such a budget: change it on its page.")
            budget = set_budget(visitor.tenant, **form.cleaned_data, acting_user=visitor.user)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, f"The {budget} counts from now on.")
            return redirect(address(visitor, "budget", budget_id=budget.pk))
    context = {
        "form": form,
        "verb": "Set the budget",
        "back": address(visitor, "budgets"),
        "effect": "It counts from the next call on. A hard budget refuses what does not fit; a soft one is only watched.",
    }
    return show(request, visitor, "form.html", context, title="A new budget")


@page(Right.CONFIGURE)
@require_POST
def change_budget(request: HttpRequest, visitor: Visitor, budget_id: int) -> HttpResponse:
    """Change the limit of a budget, or end it."""
    budget = _find(visitor, budget_id)
    if budget.set_by != Budget.SetBy.TENANT or not budget.is_active:
        raise PermissionDenied
    if "end" in request.POST:
        retire_budget(budget, acting_user=visitor.user)
        messages.success(request, f"The {budget} limits nothing any more.")
        return redirect(address(visitor, "budgets"))
    form = LimitForm(request.POST)
    if not form.is_valid():
        messages.error(request, "The limit must be a number of at least 0.")
        return redirect(address(visitor, "budget", budget_id=budget.pk))
    what = {
        name: getattr(budget, name) for name in ("scope", "value", "unit", "period", "alert_at", "shards")
    }
    budget = set_budget(visitor.tenant, **what, **form.cleaned_data, acting_user=visitor.user)
    messages.success(request, f"Changed: it is now the {budget}.")
    return redirect(address(visitor, "budget", budget_id=budget.pk))


def visible_requests(visitor: Visitor) -> Any:
    """What the visitor asked for; for those who see all, what everybody of the tenant did."""
    asked = RaiseRequest.objects.filter(tenant=visitor.tenant, budget__tenant=visitor.tenant)
    asked = asked.select_related("budget", "requested_by", "decided_by")
    return asked if visitor.reads_all else asked.filter(requested_by=visitor.user)


def _find(visitor: Visitor, budget_id: int) -> Any:
    """A budget that the visitor may see: one that limits her, or any for those who see all."""
    budget = get_object_or_404(with_usage(Budget.objects.filter(tenant=visitor.tenant)), pk=budget_id)
    if not visitor.reads_all and all(one.budget_id != budget.pk for one in balances_of(visitor)):
        raise Http404
    return budget


def _may_decide(visitor: Visitor, budget: Budget) -> bool:
    return visitor.may(Right.CONFIGURE) and budget.set_by == Budget.SetBy.TENANT


def _check_pending(visitor: Visitor, budget: Budget) -> None:
    pending = RaiseRequest.objects.filter(
        tenant=visitor.tenant,
        budget=budget,
        requested_by=visitor.user,
        state=State.PENDING,
        expires_at__gt=now(),
    )
    if pending.count() >= MOST_PENDING_EACH:
        raise ValidationError(
            f"{MOST_PENDING_EACH} of your requests for this budget wait for a decision already."
        )


def _budgets_table(visitor: Visitor) -> dict[str, Any]:
    budgets = with_usage(Budget.objects.filter(tenant=visitor.tenant, is_active=True))
    found: list[Any] = list(budgets.order_by("scope", "value", "unit", "period", "pk")[: MOST_SHOWN + 1])
    of_usd = [one for one in found[:MOST_SHOWN] if one.unit == Budget.Unit.USD]
    places = places_in(amount for one in of_usd for amount in (one.limit_amount + one.raised, one.top_spent))
    rows = [
        [
            cells.link(address(visitor, "budget", budget_id=one.pk), _title(str(one))),
            cells.progress(used_percent(one), label="of the limit is used or held"),
            f"{in_unit(one.unit, one.limit_amount + one.raised, places=places)} {one.get_unit_display()}",
            f"{in_unit(one.unit, one.top_spent, places=places)} {one.get_unit_display()}",
            one.top_subject or ("everybody" if one.scope == "tenant" else cells.NOTHING),
            one.get_set_by_display(),
        ]
        for one in sorted(found[:MOST_SHOWN], key=lambda one: -used_percent(one))
    ]
    more = f"The first {MOST_SHOWN}." if len(found) > MOST_SHOWN else ""
    heads = ["Budget", "Fullest", "Limit now", "Spent there", "Whose", "Set by"]
    return {
        "headers": heads,
        "rows": rows,
        "more": more,
        "empty": "No budget yet: nothing limits what is spent.",
    }


def _whole(budget: Any) -> list[tuple[str, Any]]:
    unit = budget.get_unit_display()
    places = places_in((budget.limit_amount, budget.raised, budget.top_spent))
    return [
        ("Limit", f"{in_unit(budget.unit, budget.limit_amount, places=places)} {unit}"),
        ("Raised by", f"{in_unit(budget.unit, budget.raised, places=places)} {unit}"),
        ("Fullest", cells.progress(used_percent(budget), label="of the limit is used or held")),
        ("Spent there", f"{in_unit(budget.unit, budget.top_spent, places=places)} {unit}"),
        ("Whose", budget.top_subject or cells.NOTHING),
        ("Kind", "refuses what does not fit" if budget.mode == Budget.Mode.HARD else "is only watched"),
        ("Set by", budget.get_set_by_display()),
    ]


def _raises_table(visitor: Visitor, budget: Budget) -> dict[str, Any]:
    at, zone, unit = now(), visitor.tenant.timezone, budget.get_unit_display()
    rows = [
        [
            f"+{plain(one.extra_amount)} {unit}",
            cells.moment(one.starts_at, zone=zone),
            cells.moment(one.ends_at, zone=zone),
            "running" if one.starts_at <= at < one.ends_at else "over",
            one.reason if visitor.reads_all else cells.NOTHING,
        ]
        for one in budget.raises.order_by("-ends_at")[:MOST_ASKED]
    ]
    return {
        "headers": ["Raise", "From", "Until", "State", "Reason"],
        "rows": rows,
        "empty": "It was not raised yet.",
    }


def _asked_table(visitor: Visitor, requests: Any) -> dict[str, Any]:
    rows = [
        [
            cells.link(
                address(visitor, "raise_request", asked_id=one.pk), f"{one.created_at:%Y-%m-%d %H:%M}"
            ),
            *([one.asker] if visitor.reads_all else []),
            str(one.budget),
            f"+{plain(one.extra_amount)} {one.budget.get_unit_display()}",
            _state(one),
            one.reason[:80],
        ]
        for one in requests.order_by("-created_at")[:MOST_ASKED]
    ]
    heads = ["Asked, UTC", *(["By"] if visitor.reads_all else []), "Budget", "More", "State", "Why"]
    return {
        "headers": heads,
        "rows": rows,
        "empty": "Nobody asked for more." if visitor.reads_all else "You asked for nothing yet.",
    }


def _asked_facts(visitor: Visitor, asked: RaiseRequest) -> list[tuple[str, Any]]:
    zone = visitor.tenant.timezone
    facts: list[tuple[str, Any]] = [
        ("Budget", cells.link(address(visitor, "budget", budget_id=asked.budget_id), str(asked.budget))),
        ("More", f"{plain(asked.extra_amount)} {asked.budget.get_unit_display()}"),
        ("Until", cells.moment(asked.ends_at, zone=zone)),
        ("Asked by", asked.asker),
        ("Asked", cells.moment(asked.created_at, zone=zone)),
        ("Why", asked.reason),
        ("State", _state(asked)),
    ]
    if asked.decided_at:
        facts += [
            ("Decided", cells.moment(asked.decided_at, zone=zone)),
            ("Remark", asked.decision_reason or cells.NOTHING),
        ]
    else:
        facts.append(("Open until", cells.moment(asked.expires_at, zone=zone)))
    return facts


def _state(asked: RaiseRequest) -> str:
    is_late = asked.state == State.PENDING and asked.expires_at <= now()
    return {"pending": "waiting for a decision", "approved": "granted"}.get(
        State.EXPIRED if is_late else asked.state, str(State.EXPIRED if is_late else asked.state)
    )


def _title(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
