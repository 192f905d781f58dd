"""Pages of budgets: how much of each is used now, and how to give one more room for a while.

Invariant: windows are only read here; what is shown as used is what admission counts with.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter, FieldTextFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin import budget_preview, budget_state
from billing.admin.budget_state import in_unit, used_percent, with_usage
from billing.admin.figures import MomentField, amount_of, plain
from billing.budgets.raise_requests import request_raise
from billing.budgets.raises import end_raise, raise_budget
from billing.models import Budget, BudgetRaise, BudgetWindow
from config.site.cells import progress
from tenants.admin.access import ReadOnlyAdmin, RecordedAdmin, TenantScopedForm, finish
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action, page_of
from tenants.admin.previews import PreviewsChanges
from tenants.people.rights import Right, may_everywhere

ASKED_FIRST = ("extra_amount", "ends_at", "reason")


class RaiseForm(BaseDialogForm):
    """How much more, until when, and why; above it what the budget has now."""

    form_before_template = "admin/budget_figures.html"

    extra_amount = forms.DecimalField(
        min_value=Decimal("0.000000000001"),
        max_digits=28,
        decimal_places=12,
        label="More",
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="On top of the limit and of other raises.",
    )
    ends_at = MomentField(label="Until (UTC)")
    reason = forms.CharField(max_length=500, widget=UnfoldAdminTextInputWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seen = admin.site.get_model_admin(Budget).get_queryset(self.request)  # only what this person may see
        self.budget: Any = seen.filter(pk=self.object_id).first()
        if self.budget is not None:
            self.fields["extra_amount"].label = f"More, {self.budget.get_unit_display()}"
            self.initial["ends_at"] = f"{budget_state.usual_end(self.budget):%Y-%m-%dT%H:%M}"
        # a page that knows how much is missing fills the dialog in
        self.initial |= {name: self.request.GET[name] for name in ASKED_FIRST if name in self.request.GET}

    def get_before_template_context(self, request: HttpRequest, object_id: Any = None) -> dict[str, Any]:
        return {"state": budget_state.state_of(self.budget)} if self.budget is not None else {}

    def clean_ends_at(self) -> Any:
        ends_at = self.cleaned_data["ends_at"]
        if ends_at <= now():
            raise ValidationError("The end must be in the future.")
        return ends_at


class BudgetForm(TenantScopedForm):
    """A budget whose alert thresholds are shares in percent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["limit_amount"] = plain(self.instance.limit_amount)
        for name in {"shards", "set_by"} & self.fields.keys():
            self.fields[name].required = False  # left empty: as it is

    def clean_shards(self) -> int:
        return self.cleaned_data["shards"] or self.instance.shards

    def clean_set_by(self) -> str:
        return self.cleaned_data["set_by"] or self.instance.set_by

    def clean_alert_at(self) -> list[int | float]:
        shares = self.cleaned_data["alert_at"] or []
        if not isinstance(shares, list) or not all(_is_share(share) for share in shares):
            raise ValidationError("alert_at must be a list of percentages above 0, such as [50, 80, 100]")
        return sorted(set(shares))


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1000


@admin.register(Budget)
class BudgetAdmin(PreviewsChanges, RecordedAdmin):
    """Budgets with what is used, held and left now."""

    form = BudgetForm
    list_display = (
        "label", "tenant", "shown_limit", "usage", "spent", "held", "remaining", "fullest", "mode", "is_active"
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("scope", ChoicesCheckboxFilter),
        ("unit", ChoicesCheckboxFilter),
        ("period", ChoicesCheckboxFilter),
        ("mode", ChoicesCheckboxFilter),
        ("set_by", ChoicesCheckboxFilter),
        "is_active",
    )
    list_select_related = ("tenant",)
    search_fields = ("tenant__slug", "value")
    autocomplete_fields = ("tenant",)
    readonly_fields = ("windows", "created_at")
    change_form_outer_before_template = "admin/budget_state.html"
    actions_detail = ("raise_until", "ask_for_raise")
    fieldsets = (
        (None, {"fields": (("tenant", "is_active"), ("scope", "value"), "set_by")}),
        ("Limit", {"fields": (("limit_amount", "unit"), ("period", "mode"), ("alert_at", "shards"))}),
        ("Now", {"fields": ("windows", "created_at")}),
    )
    add_fieldsets = fieldsets[:2]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        return with_usage(super().get_queryset(request))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        if budget := options.get("obj"):
            context["state"] = budget_state.state_of(budget)
        return super().render_change_form(request, context, *args, **options)

    def needs_preview(self, form: Any, former: Budget | None) -> bool:
        return budget_preview.needs_preview(form)

    def preview_of(self, row: Budget, former: Budget | None) -> dict[str, Any]:
        return budget_preview.effect_of(row, former=former)

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        # What a budget counts is its identity, which its windows are tied to; another count is another budget.
        fixed = super().get_readonly_fields(request, obj)
        if not may_everywhere(request, Right.PLATFORM):
            fixed = (*fixed, "set_by")
        return (*fixed, "scope", "value", "unit", "period") if obj else fixed

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        set_by = Budget.SetBy.PLATFORM if may_everywhere(request, Right.PLATFORM) else Budget.SetBy.TENANT
        return {"set_by": set_by, **super().get_changeform_initial_data(request)}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and may_decide(request, obj)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_operate_permission(request, obj) and may_decide(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a budget is switched off, never deleted: its windows say what was admitted

    @display(description="Budget", ordering="scope")
    def label(self, budget: Budget) -> str:
        return f"{budget.scope.replace('_', ' ')} {budget.value or ('' if budget.scope == 'tenant' else '(each)')}".strip()

    @figure_column("Limit", ordering="limit_amount")
    def shown_limit(self, budget: Any) -> str:
        raised = f" + {amount_of(budget.unit, budget.raised)}" if budget.raised else ""
        unit = "" if budget.unit == "usd" else f" {budget.unit}"
        return f"{amount_of(budget.unit, budget.limit_amount)}{raised}{unit} / {budget.period}"

    @display(description="Used")
    def usage(self, budget: Any) -> SafeString:
        return progress(used_percent(budget))

    @figure_column("Spent", ordering="top_spent")
    def spent(self, budget: Any) -> Decimal | int:
        return in_unit(budget.unit, budget.top_spent)

    @figure_column("Held", ordering="top_held")
    def held(self, budget: Any) -> Decimal | int:
        return in_unit(budget.unit, budget.top_held)

    @figure_column("Left")
    def remaining(self, budget: Any) -> Decimal | int:
        return in_unit(budget.unit, budget.limit_amount + budget.raised - budget.top_spent - budget.top_held)

    @display(description="Fullest")
    def fullest(self, budget: Any) -> str:
        return f"{budget.top_subject} (of {budget.window_count})" if budget.top_subject else "–"

    @display(description="Current windows")
    def windows(self, budget: Any) -> SafeString | str:
        return render_to_string("admin/table.html", {"table": budget_state.windows_of(budget)})

    @dialog_action(
        "Raise until…",
        "trending_up",
        title="Give this budget more room for a while",
        text="Counts from now on, in every worker, until the end you name.",
        submit="Raise",
        form=RaiseForm,
    )
    def raise_until(self, request: HttpRequest, form: RaiseForm, budget: Budget) -> str:
        raised = raise_budget(budget, acting_user=request.user, **_answers(form))
        unit = budget.get_unit_display()
        return f"Raised: +{plain(raised.extra_amount)} {unit} until {raised.ends_at:%Y-%m-%d %H:%M} UTC."

    @dialog_action(
        "Ask for a raise…",
        "front_hand",
        title="Ask for more room in this budget",
        text="The people who decide on this tenant's budgets see it, and the alert channels are notified.",
        submit="Ask",
        form=RaiseForm,
        permission="view",
        refusals=(ValidationError,),
    )
    def ask_for_raise(self, request: HttpRequest, form: RaiseForm, budget: Budget) -> HttpResponse:
        asked = request_raise(budget, acting_user=request.user, **_answers(form))
        return finish(request, page_of(asked), "Asked.")


def may_decide(request: HttpRequest, budget: Any) -> bool:
    """Whether a limit, if it is known yet, is no operator's business alone."""
    is_platforms = isinstance(budget, Budget) and budget.set_by != Budget.SetBy.TENANT
    return may_everywhere(request, Right.PLATFORM) or not is_platforms


def _answers(form: RaiseForm) -> dict[str, Any]:
    return {name: form.cleaned_data[name] for name in ("extra_amount", "ends_at", "reason")}


@admin.register(BudgetRaise)
class BudgetRaiseAdmin(ReadOnlyAdmin):
    """Raises, running and past. One is made from its budget's page, and can be ended here."""

    tenant_path = "budget__tenant"
    list_display = ("budget", "tenant", "more", "starts_at", "ends_at", "state", "reason", "approved_by")
    list_filter = (("budget__tenant", SeenRowsFilter),)
    list_select_related = ("budget__tenant", "approved_by")
    search_fields = ("reason", "budget__value", "budget__tenant__slug")
    actions_detail = ("end_now",)

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_operate_permission(request, obj) and may_decide(
            request, getattr(obj, "budget", None)
        )

    @display(description="Tenant", ordering="budget__tenant")
    def tenant(self, raised: BudgetRaise) -> str:
        return str(raised.budget.tenant)

    @figure_column("More", ordering="extra_amount")
    def more(self, raised: BudgetRaise) -> str:
        return amount_of(raised.budget.unit, raised.extra_amount)

    @display(description="State", label={"running": "success", "over": ""})
    def state(self, raised: BudgetRaise) -> str:
        return "running" if raised.starts_at <= now() < raised.ends_at else "over"

    @dialog_action(
        "End now",
        "stop_circle",
        title="Take this raise back now?",
        text="What was admitted under it stays spent; the budget may then be over its limit.",
        submit="End it",
    )
    def end_now(self, request: HttpRequest, form: BaseDialogForm, raised: BudgetRaise) -> str:
        return "The raise is ended." if end_raise(raised, acting_user=request.user) else "The raise was over."


@admin.register(BudgetWindow)
class BudgetWindowAdmin(ReadOnlyAdmin):
    """Every window that ever admitted something."""

    list_display = (
        "budget",
        "tenant",
        "subject",
        "starts_at",
        "ends_at",
        "shard",
        "shown_spent",
        "shown_held",
        "shown_overrun",
    )
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("subject", FieldTextFilter),
        ("unit", ChoicesCheckboxFilter),
    )
    list_select_related = ("budget", "tenant")
    search_fields = ("subject", "tenant__slug")

    @figure_column("Spent", ordering="spent")
    def shown_spent(self, window: BudgetWindow) -> Decimal | int:
        return in_unit(window.unit, window.spent)

    @figure_column("Held", ordering="held")
    def shown_held(self, window: BudgetWindow) -> Decimal | int:
        return in_unit(window.unit, window.held)

    @figure_column("Overrun", ordering="overrun")
    def shown_overrun(self, window: BudgetWindow) -> Decimal | int:
        return in_unit(window.unit, window.overrun)
