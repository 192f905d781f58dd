"""The pages of split rules: which cost of a tenant is shared, and among whom.

Invariant: a rule is set or ended by the domain functions, after its effect on the month was shown; nothing here edits one.
"""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing.admin.allocation.chargebacks import NAMELESS, chargebacks_page
from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.models import BillingPeriod, SplitRule
from billing.models.split_rules import MONTH
from billing.months.chargebacks import Chargebacks, chargebacks_of
from billing.months.parts import NOTHING
from billing.months.report import one_snapshot
from billing.months.split_rules import checked_shares, end_split, rules_in_force, set_split
from tenants.admin.access import HistoryPages, TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right

LONGEST: Final = 20_000
CENTERS_SHOWN: Final = 50
SHARES_SHOWN: Final = 5  # in a list
FACTS: Final = ("name", "place", "source", "tag", "value", "method", "shares", "first_month", "last_month")


class SharesField(forms.CharField):
    """Cost centres, one a line, with a percentage where they are fixed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            max_length=LONGEST,
            required=False,
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
            help_text="Cost centres, one a line, with percentages where they are fixed: “4711 60”. Empty: all that have cost"
            " of their own.",
        )

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(" ".join(share).strip() for share in value) if isinstance(value, list) else value


class SplitRuleForm(forms.ModelForm[SplitRule]):
    """A rule with its months; it counts from this month on where none is named."""

    shares = SharesField()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        method = cleaned.get("method", "")
        shares = [
            _share(line, method=method) for line in (cleaned.get("shares") or "").splitlines() if line.strip()
        ]
        try:
            cleaned["shares"] = checked_shares(shares, method=method)
        except ValidationError as error:
            self.add_error("shares", error.message_dict["shares"])
        return cleaned


class EndForm(BaseDialogForm):
    """The last month that a rule counts in."""

    last_month = forms.CharField(
        max_length=7,
        validators=[MONTH],
        label="Last month",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "2026-11"}),
        help_text="Not before its first.",
    )


@admin.register(SplitRule)
class SplitRuleAdmin(AsksFirst, HistoryPages, Unedited, TenantScopedAdmin):
    """Which cost of a tenant is shared, and among whom."""

    form = SplitRuleForm
    list_display = (
        "tenant",
        "place",
        "name",
        "takes",
        "method",
        "among",
        "first_month",
        "last_month",
        "created_by",
    )
    list_filter = (("tenant", SeenRowsFilter), ("source", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "created_by")
    search_fields = ("tenant__slug", "name", "value")
    autocomplete_fields = ("tenant",)
    actions_detail = ("end",)
    custom_urls = (("chargebacks/", "billing_chargebacks", chargebacks_page),)
    fieldsets = (
        (None, {"fields": (("tenant", "name"), "place")}),
        ("What is shared", {"fields": ("source", ("tag", "value"))}),
        ("Among whom", {"fields": ("method", "shown_shares")}),
        ("Months", {"fields": (("first_month", "last_month"), ("created_at", "created_by"))}),
    )
    add_fieldsets = (
        *fieldsets[:2],
        ("Among whom", {"fields": ("method", "shares")}),
        (
            "Months",
            {
                "fields": (("first_month", "last_month"),),
                "description": "Such as 2026-11. A month that is closed keeps its chargebacks.",
            },
        ),
    )
    readonly_fields = ("created_at", "created_by", "shown_shares")
    # it changes what a month's files say, and nothing of the books
    changed_with = operated_with = Right.CLOSE

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"first_month": f"{now():%Y-%m}"} | super().get_changeform_initial_data(request)

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        rule = form.instance
        rule.shares = form.cleaned_data["shares"]
        period = _period(rule)
        if period is None:
            return Effect(str(rule), "There is no open month yet that it counts in.", "Set this rule")
        before, after = _both(period, rule)
        rows = _changes(before, after)
        return Effect(
            change=str(rule),
            meaning=f"These are the chargebacks of {period.label} so far, without the rule and with it. The ledger, the statement"
            " and its total stay as they are.",
            submit="Set this rule",
            table={
                "headers": ["Cost centre", "Without it, USD", "With it, USD", "Difference, USD"],
                "rows": rows,
            },
            note="It moves nothing in this month." if not any(row[3] for row in rows) else "",
        )

    def save_model(self, request: HttpRequest, obj: SplitRule, form: Any, change: bool) -> None:
        facts = {name: form.cleaned_data[name] for name in FACTS}
        rule = set_split(obj.tenant, acting_user=request.user, **facts)
        obj.pk, obj._state.adding = rule.pk, False

    @display(description="Takes")
    def takes(self, rule: SplitRule) -> str:
        return " ".join(filter(None, (rule.get_source_display(), rule.tag, rule.value)))

    @display(description="Among")
    def among(self, rule: SplitRule) -> str:
        return _in_words(rule.shares[:SHARES_SHOWN]) + (" …" if len(rule.shares) > SHARES_SHOWN else "")

    @display(description="Shares")
    def shown_shares(self, rule: SplitRule) -> str:
        return _in_words(rule.shares)

    @dialog_action(
        "End…",
        "stop_circle",
        title="Have this rule count no more?",
        text="The months after the last one are divided without it. Closed months keep their chargebacks.",
        submit="End it",
        form=EndForm,
        is_destructive=True,
        refusals=(ValidationError,),
        offered=lambda rule: not rule.last_month,
    )
    def end(self, request: HttpRequest, form: EndForm, rule: SplitRule) -> str:
        end_split(rule, last_month=form.cleaned_data["last_month"], acting_user=request.user)
        return f"The rule counts for the last time in {rule.last_month}."


def _in_words(shares: list[list[str]]) -> str:
    named = [f"{name} {percent} %" if percent else name for name, percent in shares]
    return ", ".join(named) or "all with cost of their own"


def _share(line: str, *, method: str) -> list[str]:
    name, _, percent = line.strip().rstrip("% ").rpartition(" ")
    return [name.strip(), percent] if method == SplitRule.Method.FIXED and name else [line.strip(), ""]


def _period(rule: SplitRule) -> BillingPeriod | None:
    """The newest month that is not closed and that the rule counts in."""
    periods = BillingPeriod.objects.filter(tenant=rule.tenant, label__gte=rule.first_month)
    if rule.last_month:
        periods = periods.filter(label__lte=rule.last_month)
    return (
        periods.exclude(status=BillingPeriod.Status.CLOSED)
        .select_related("tenant")
        .order_by("-starts_at")
        .first()
    )


def _both(period: BillingPeriod, rule: SplitRule) -> tuple[Chargebacks, Chargebacks]:
    """A month's chargebacks without a new rule, and with it in its place."""
    known = rules_in_force(period.tenant, month=period.label)
    with_it = sorted([*known, rule], key=lambda one: (one.place, one.pk or float("inf")))
    with one_snapshot():
        return chargebacks_of(period, rules=known), chargebacks_of(period, rules=with_it)


def _changes(before: Chargebacks, after: Chargebacks) -> list[list[Any]]:
    """What each cost centre bears, those first that it changes most."""
    old, new = ({item.cost_center: item.exact_usd for item in made.items} for made in (before, after))
    change = {name: new.get(name, NOTHING) - old.get(name, NOTHING) for name in {*old, *new}}
    names = sorted(change, key=lambda name: (-abs(change[name]), name))
    return [
        [name or NAMELESS, old.get(name, NOTHING), new.get(name, NOTHING), change[name]]
        for name in names[:CENTERS_SHOWN]
    ]
