"""Pages of coding agents: sessions and runs with their trees, and the envelopes of runs.

Invariant: read from sums by hour and from the ledger, never changed; an envelope is raised and stopped by the functions that
the portal calls, too.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing.admin import trees as shown
from billing.models import AgentHour, RunEnvelope
from billing.money import plain
from billing.runs import envelopes, trees
from billing.runs.latest import latest_work
from config.site import cells
from config.site.filter_bar import Field, FilterBar
from tenants.admin.access import ReadOnlyAdmin, tenants_of
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import AlignedChangeList, figure_column
from tenants.admin.dialogs import dialog_action
from tenants.models import Tenant
from tenants.people.rights import Right, may_everywhere

DAYS: Final = (("1", "last 24 hours"), ("7", "last 7 days"), ("30", "last 30 days"))
ORDERS: Final = (("latest", "latest first"), ("dearest", "dearest first"))
MOST_TENANTS: Final = 500


@admin.register(AgentHour)
class SessionAdmin(ReadOnlyAdmin):
    """Sessions and runs, and each of them as a tree, on one page."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.GET.get("session") or request.GET.get("run"):
            return self._tree(request)
        seen = tenants_of(request)
        bar = FilterBar.read(
            (
                Field("tenant", "Tenant", suggestions=[*seen.values_list("slug", flat=True)[:MOST_TENANTS]]),
                Field("days", "Period", choices=DAYS, default="1"),
                Field("order", "Order", choices=ORDERS, default="latest"),
                Field("user", "User", hint="a user's id"),
            ),
            request.GET,
        )
        chosen = seen.filter(slug=bar.chosen("tenant")) if bar.chosen("tenant") else seen
        is_all = not bar.chosen("tenant") and may_everywhere(request, Right.SEE)
        work = latest_work(
            None if is_all else [*chosen.values_list("pk", flat=True)[:MOST_TENANTS]],
            since=now() - timedelta(days=int(bar.chosen("days") or 1)),
            user=bar.chosen("user"),
            by_cost=bar.chosen("order") == "dearest",
        )
        slugs = dict(Tenant.objects.filter(pk__in={one.tenant_id for one in work}).values_list("pk", "slug"))
        context = {
            **admin.site.each_context(request),
            "title": "Sessions and runs",
            "bar": bar,
            "sessions": shown.table_of(work, at=request.path, zone="UTC", has_users=True, tenants=slugs),
        }
        return TemplateResponse(request, "admin/sessions.html", context)

    def _tree(self, request: HttpRequest) -> HttpResponse:
        by: trees.By = "session" if request.GET.get("session") else "run"
        name = request.GET[by][:200].replace("\x00", "")
        tenant = tenants_of(request).filter(slug=request.GET.get("tenant", "")[:200]).first()
        tree = trees.read_tree(tenant.pk, name, by=by) if tenant else None
        if tenant is None or tree is None:
            raise Http404
        of_run = envelopes.states_of(tenant, run=name, limit=10)
        context = {
            **admin.site.each_context(request),
            "title": f"{by.capitalize()} {shown.short(name)}",
            **shown.context_of(tree, zone=tenant.timezone),
            "tenant": tenant,
            "envelopes": _table(of_run, zone=tenant.timezone) if of_run else None,
            "requests": f"{reverse('admin:llm_requestlog_changelist')}?{_requests(tenant, tree)}",
        }
        return TemplateResponse(request, "admin/session.html", context)


class RaiseForm(BaseDialogForm):
    """How much more, and why."""

    extra_amount = forms.DecimalField(
        min_value=Decimal("0.000001"),
        max_digits=13,
        decimal_places=6,
        label="More, USD",
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextInputWidget())


class EnvelopeList(AlignedChangeList):
    """A page of envelopes with what is left of each: asked once for all of them."""

    def prepare(self, rows: Sequence[RunEnvelope]) -> None:
        states = envelopes.states_of_rows(rows)
        for envelope in rows:
            if envelope.pk in states:
                envelope.__dict__["state"] = states[envelope.pk]


@admin.register(RunEnvelope)
class EnvelopeAdmin(ReadOnlyAdmin):
    """Envelopes, newest first."""

    list_display = (
        "run",
        "tenant",
        "owner",
        "opened_by",
        "opened_at",
        "expires_at",
        "shown_used",
        "limit",
        "left",
    )
    list_select_related = ("tenant", "budget")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("run", FieldTextFilter),
        ("owner", FieldTextFilter),
        ("opened_by", ChoicesCheckboxFilter),
        "is_open",
    )
    fields = (
        ("tenant", "run"), ("owner", "user"), ("opened_at", "expires_at"), ("opened_by", "own_raises"),
        "shared_with", ("shown_used", "left"), ("limit", "spent"), "held",
    )  # fmt: skip
    readonly_fields = ("shown_used", "limit", "spent", "held", "left")
    actions_detail = ("raise_it", "stop_it")

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[AlignedChangeList]:
        return EnvelopeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[RunEnvelope]:
        return super().get_queryset(request).select_related("tenant", "budget")

    @display(description="Used")
    def shown_used(self, envelope: RunEnvelope) -> str:
        return cells.progress(_state(envelope).used_percent)

    @figure_column("Limit, USD")
    def limit(self, envelope: RunEnvelope) -> Decimal:
        return _state(envelope).limit

    @figure_column("Spent, USD")
    def spent(self, envelope: RunEnvelope) -> Decimal:
        return _state(envelope).spent

    @figure_column("Held, USD")
    def held(self, envelope: RunEnvelope) -> Decimal:
        return _state(envelope).held

    @figure_column("Left, USD")
    def left(self, envelope: RunEnvelope) -> Decimal:
        return _state(envelope).remaining

    @dialog_action(
        "Raise",
        "trending_up",
        title="Raise this envelope",
        text="The run has so much more from now until it ends, and goes on where it was refused.",
        submit="Raise",
        form=RaiseForm,
        refusals=(ValidationError,),
        offered=lambda envelope: envelope.expires_at > now(),
    )
    def raise_it(self, request: HttpRequest, form: RaiseForm, envelope: RunEnvelope) -> str:
        raised = envelopes.raise_run(
            envelope,
            extra_amount=form.cleaned_data["extra_amount"],
            reason=form.cleaned_data["reason"],
            acting_user=request.user,
        )
        return f"Raised by {plain(raised.extra_amount)} USD."

    @dialog_action(
        "Stop",
        "front_hand",
        title="Stop this run",
        text="Its next call is refused; calls that run now end as they would. A raise lets it go on.",
        submit="Stop",
        is_destructive=True,
        offered=lambda envelope: envelope.expires_at > now(),
    )
    def stop_it(self, request: HttpRequest, form: BaseDialogForm, envelope: RunEnvelope) -> str:
        envelopes.stop_run(envelope, acting_user=request.user)
        return "Stopped."


def _requests(tenant: Tenant, tree: trees.Tree) -> str:
    chosen = {"tenant": tenant.slug, "session" if tree.by == "session" else "q": tree.name, "period": "30d"}
    return urlencode(chosen)


def _state(envelope: RunEnvelope) -> envelopes.EnvelopeState:
    """Asked once for a row."""
    state: envelopes.EnvelopeState | None = envelope.__dict__.get("state")
    if state is None:
        state = envelope.__dict__["state"] = envelopes.state_of(envelope)
    return state


def _table(states: list[envelopes.EnvelopeState], *, zone: str) -> dict[str, Any]:
    return {
        "headers": ["Run", "Used", "Spent, USD", "Limit, USD", "Ends"],
        "rows": [
            [
                cells.link(reverse("admin:billing_runenvelope_change", args=(one.id,)), shown.short(one.run)),
                cells.progress(one.used_percent),
                one.spent,
                one.limit,
                cells.moment(one.expires_at, zone=zone),
            ]
            for one in states
        ],
    }
