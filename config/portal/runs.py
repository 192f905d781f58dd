"""The envelope of a run: why it is full, and how it goes on.

Invariant: who may decide raises it by any amount, whose run it is only as the policy lets her, and everybody else asks. Each
verb is one function of `billing.runs.envelopes`, which checks again.
"""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.text import capfirst

from billing.admin.trees import short
from billing.budgets.raise_requests import approve_raise, request_raise
from billing.models import BudgetRaise, RaiseRequest, RunEnvelope
from billing.money import plain
from billing.runs import envelopes
from billing.runs.envelopes import EnvelopeState
from billing.runs.sharing import Sharing, may_share, names_of
from billing.scopes import RUN
from config.portal.access import LOGIN, Visitor, page, private, tenants_of
from config.portal.layout import address, show
from config.portal.sessions import person_shown
from config.site import cells
from llm.models import RequestLog
from tenants.policy import EnvelopePolicy, parse_policy

MOST_SHOWN: Final = 20
MOST_TYPED: Final = 25_000  # characters of a list of people


def find_run(request: HttpRequest, id: int) -> HttpResponseBase:
    """`/portal/runs/<id>`, as a refusal names it: on to the page of the tenant whose it is, for its members."""
    if not request.user.is_authenticated:
        return private(redirect(f"{LOGIN}?next={request.path}"))
    tenant_id = RunEnvelope.objects.filter(pk=id).values_list("tenant_id", flat=True).first()
    tenant = next((one for one in tenants_of(request.user) if one.pk == tenant_id), None)
    if tenant is None:
        raise Http404
    return private(redirect("portal:run", tenant=tenant.slug, id=id))


@page()
def show_run(request: HttpRequest, visitor: Visitor, id: int) -> HttpResponse:
    """`/portal/t/<slug>/runs/<id>/`."""
    envelope, state = _found(visitor, id)
    policy = _policy(visitor)
    zone = visitor.tenant.timezone
    waiting = list(
        RaiseRequest.objects.filter(
            tenant=visitor.tenant, budget=id, state=RaiseRequest.State.PENDING
        ).select_related("requested_by")[:MOST_SHOWN]
    )
    raises = list(BudgetRaise.objects.filter(budget=id).select_related("approved_by")[:MOST_SHOWN])
    refusals = _refusals(visitor, state)
    context = {
        "state": state,
        "id": id,
        "bar": cells.progress(state.used_percent, label="of the envelope is used or held"),
        "facts": _facts(state, envelope, zone=zone),
        "is_refused": _why_refused(refusals, raises, state),
        "why_not_own": "" if not state.is_of(visitor.person) else envelopes.why_not_own(state, policy=policy),
        "own_amount": plain(envelopes.own_amount(state, policy=policy)),
        "may_raise_own": state.is_of(visitor.person) and not envelopes.why_not_own(state, policy=policy),
        "may_decide": visitor.may_configure,
        "may_ask": state.is_drawn_from_by(visitor.person) or visitor.reads_all,
        "may_stop": visitor.may_configure or state.is_of(visitor.person),
        "may_share": _may_share(visitor, state),
        "usual_amount": plain(envelope.budget.limit_amount or policy.usd_of(key="", user="")),
        "raises": _raises(raises, zone=zone),
        "requests": [
            {"id": one.pk, "amount": plain(one.extra_amount), "asker": one.asker, "reason": one.reason}
            for one in waiting
        ],
        "refusals": _refused_calls(refusals, zone=zone),
        "tree": f"{address(visitor, 'session')}?{'session' if state.opened_by == 'session' else 'run'}=",
        "run": state.run,
        "back": address(visitor, "sessions"),
    }
    return show(request, visitor, "run.html", context, title=f"Run {short(state.run)}")


@page()
def open_run(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Open an envelope for a run that is named before its first call."""
    if request.method != "POST":
        return redirect(address(visitor, "sessions"))
    person = request.POST.get("person", "").strip()[:200] if visitor.may_configure else visitor.person
    person = person or visitor.person
    if not person:
        raise PermissionDenied
    try:
        id = envelopes.open_run(
            visitor.tenant,
            person=person,
            run=request.POST.get("run", ""),
            usd=_amount(request),
            policy=_policy(visitor),
            sharing=_sharing(request, visitor),
        )
    except ValidationError as error:
        messages.error(request, "; ".join(error.messages).capitalize())
        return redirect(address(visitor, "sessions"))
    messages.success(
        request, f"The envelope is open. It pays for calls of {person}'s keys that name the run."
    )
    return redirect(address(visitor, "run", id=id))


@page()
def change_run(request: HttpRequest, visitor: Visitor, id: int, verb: str) -> HttpResponse:
    """One verb on a run, and back to its page with what came of it."""
    here = redirect(address(visitor, "run", id=id))
    if request.method != "POST":
        return here
    envelope, state = _found(visitor, id)
    try:
        messages.success(request, _VERBS[verb](request, visitor, envelope, state))
    except KeyError:
        raise Http404 from None
    except ValidationError as error:
        messages.error(request, "; ".join(error.messages).capitalize())
    return here


def _raise(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    _must_decide(visitor)
    raised = envelopes.raise_run(
        envelope,
        extra_amount=_amount(request),
        reason=request.POST.get("reason", "")[:300],
        acting_user=visitor.user,
    )
    return f"Raised by {plain(raised.extra_amount)} USD. The run goes on at once."


def _raise_own(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    if not state.is_of(visitor.person):
        raise PermissionDenied
    raised = envelopes.raise_own(envelope, policy=_policy(visitor), acting_user=visitor.user)
    return f"Raised by {plain(raised.extra_amount)} USD. The run goes on at once."


def _ask(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    if not state.is_drawn_from_by(visitor.person) and not visitor.reads_all:
        raise PermissionDenied
    request_raise(
        envelope.budget,
        extra_amount=_amount(request),
        ends_at=envelope.expires_at,
        reason=request.POST.get("reason", "").strip()[:300],
        end_user=visitor.person,
        acting_user=visitor.user,
    )
    return "The owners were asked. You see their answer here."


def _approve(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    _must_decide(visitor)
    asked = RaiseRequest.objects.filter(
        tenant=visitor.tenant, budget=envelope.pk, pk=request.POST.get("asked", "")
    ).first()
    if asked is None:
        raise Http404
    granted = approve_raise(asked, acting_user=visitor.user)
    return f"Raised by {plain(granted.extra_amount)} USD. The run goes on at once."


def _stop(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    if not visitor.may_configure and not state.is_of(visitor.person):
        raise PermissionDenied
    envelopes.stop_run(envelope, acting_user=visitor.user)
    return "Stopped: its next call is refused. A raise lets it go on."


def _share(request: HttpRequest, visitor: Visitor, envelope: RunEnvelope, state: EnvelopeState) -> str:
    if not _may_share(visitor, state):
        raise PermissionDenied
    sharing = _sharing(request, visitor)
    if sharing is None:
        raise ValidationError("a user id, or * for everybody")
    envelopes.share_run(envelope, sharing=sharing, person=state.owner.removeprefix("user/"))
    return f"Calls of {names_of(sharing.owners)} that name the run draw from it now."


_VERBS: Final[dict[str, Any]] = {
    "share": _share,
    "raise": _raise,
    "raise-own": _raise_own,
    "ask": _ask,
    "approve": _approve,
    "stop": _stop,
}


def _found(visitor: Visitor, id: int) -> tuple[RunEnvelope, EnvelopeState]:
    """An envelope that the visitor may see, else a 404."""
    states = envelopes.states_of(visitor.tenant, ids=[id], person=person_shown(visitor))
    envelope = RunEnvelope.objects.select_related("budget", "tenant").filter(pk=id, tenant=visitor.tenant)
    if not states or not (found := envelope.first()):
        raise Http404
    return found, states[0]


def _policy(visitor: Visitor) -> EnvelopePolicy:
    return parse_policy(visitor.tenant.policy).envelopes


def _may_share(visitor: Visitor, state: EnvelopeState) -> bool:
    """Whether others may be let in: by an owner, or as the policy says by whose run it is."""
    is_hers = visitor.may_configure or state.is_of(visitor.person)
    return (
        is_hers
        and state.owner.startswith("user/")
        and may_share(_policy(visitor), decides=visitor.may_configure)
    )


def _sharing(request: HttpRequest, visitor: Visitor) -> Sharing | None:
    text = request.POST.get("shared_with", "")[:MOST_TYPED]
    return Sharing.of(text, policy=_policy(visitor), decides=visitor.may_configure)


def _must_decide(visitor: Visitor) -> None:
    if not visitor.may_configure:
        raise PermissionDenied


def _amount(request: HttpRequest) -> Decimal:
    try:
        amount = Decimal(request.POST.get("usd", "").strip())
    except InvalidOperation:
        raise ValidationError("an amount in USD, such as 2.50") from None
    if not amount.is_finite() or amount != round(amount, 6):
        raise ValidationError("an amount in USD, such as 2.50")
    return amount


def _facts(state: EnvelopeState, envelope: RunEnvelope, *, zone: str) -> list[tuple[str, Any]]:
    whose = state.user or state.owner.partition("/")[2] if state.owner.startswith("user/") else state.user
    return [
        ("Spent, USD", cells.money(state.spent)),
        ("Held by calls that run, USD", cells.money(state.held)),
        ("Limit with its raises, USD", cells.money(state.limit)),
        ("Left, USD", cells.money(max(state.remaining, Decimal(0)))),
        ("Whose", whose or "a key's"),
        ("Shared with", names_of(state.shared_with) or "nobody"),
        ("Opened by", envelope.get_opened_by_display()),
        ("Opened", cells.moment(state.opened_at, zone=zone)),
        ("Ends" if state.is_open else "Ended", cells.moment(state.expires_at, zone=zone)),
    ]


def _raises(raises: list[BudgetRaise], *, zone: str) -> dict[str, Any]:
    return {
        "headers": ["Raised", "By, USD", "Who", "Why"],
        "rows": [
            [
                cells.moment(one.starts_at, zone=zone),
                one.extra_amount,
                one.approved_by.get_username() if one.approved_by else "an operator",
                one.reason,
            ]
            for one in raises
        ],
        "empty": "It was not raised yet.",
    }


def _refusals(visitor: Visitor, state: EnvelopeState) -> list[RequestLog]:
    """The last calls of the run that were refused."""
    logs = RequestLog.objects.filter(
        tenant=visitor.tenant, at__gte=state.opened_at, at__lte=state.expires_at, status__gte=400
    )
    logs = logs.filter(session=state.run) if state.opened_by == "session" else logs.filter(run=state.run)
    if not visitor.reads_all:
        logs = logs.filter(user=visitor.person)
    return list(logs.order_by("-at")[:MOST_SHOWN])


def _why_refused(refusals: list[RequestLog], raises: list[BudgetRaise], state: EnvelopeState) -> str:
    """Why the next call is refused, too: nothing is left, or less than the last one needed. Empty where it is not known to be."""
    if state.remaining <= 0:
        return "nothing is left"
    last = next((log for log in refusals if _is_of_envelope(log)), None)
    raised_at = max((one.starts_at for one in raises), default=None)
    if last is None or (raised_at is not None and raised_at > last.at):
        return ""
    return _reason(last)


def _is_of_envelope(log: RequestLog) -> bool:
    return bool((log.receipt.get("refusal") or {}).get("scope") == RUN)


def _reason(log: RequestLog) -> str:
    """Why a call was refused, in a line."""
    refusal = log.receipt.get("refusal") or {}
    if _is_of_envelope(log):
        asked, left = (str(refusal.get(name, ""))[:20] for name in ("asked", "remaining"))
        return f"a call may need {asked} USD, and {left} USD are left"
    return short(str(refusal.get("message") or log.error_code), 300)


def _refused_calls(refusals: list[RequestLog], *, zone: str) -> dict[str, Any]:
    return {
        "headers": ["When", "Agent", "Model", "Why"],
        "rows": [
            [
                cells.moment(log.at, zone=zone),
                short(log.agent or "the session", 24),
                short(log.model_asked, 32),
                capfirst(_reason(log)),
            ]
            for log in refusals
        ],
        "empty": "No call of it was refused.",
    }
