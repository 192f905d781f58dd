"""The pages of rate rules: what tenants pay for what the list says.

Invariant: a rule is set or ended by the domain functions, after its effect was shown; nothing here edits one.
"""

from typing import Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.admin.contracts.proposals import or_proposed
from billing.admin.figures import MomentField, plain
from billing.four_eyes import four_eyes_of
from billing.models import RateRule, Rerating, RuleCheck
from billing.prices.plan_editing import WHAT, end_rule, set_rule
from billing.rerating.effects import effect_of_rule
from tenants.admin.access import HistoryPages, TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action, page_of
from tenants.people.rights import Right

CHECKS_SHOWN: Final = 20


class RateRuleForm(forms.ModelForm[RateRule]):
    """A rule with its time; without one it counts from now on, for good."""

    valid_from = MomentField(required=False, label="From", help_text="In the past: a backdated rule.")
    valid_to = MomentField(required=False, label="Until before")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        starts, ends = cleaned.get("valid_from"), cleaned.get("valid_to")
        if starts and ends and ends <= starts:
            raise ValidationError({"valid_to": "Must lie after its beginning."})
        return cleaned

    def _post_clean(self) -> None:
        super()._post_clean()
        self.instance.valid_from = self.instance.valid_from or now()


class EndForm(BaseDialogForm):
    """From when a rule counts no more."""

    at = MomentField(required=False, label="From (UTC)", help_text="Empty: from now on.")


@admin.register(RateRule)
class RateRuleAdmin(AsksFirst, HistoryPages, Unedited, TenantScopedAdmin):
    """What tenants pay for what the list says: the first rule that fits counts."""

    form = RateRuleForm

    list_display = ("tenant", "priority", "kind", "worth", "fits", "valid_from", "valid_to", "created_by")
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "created_by")
    search_fields = ("tenant__slug", "model", "provider")
    autocomplete_fields = ("tenant",)
    actions_detail = ("end",)
    fieldsets = (
        (None, {"fields": (("tenant", "priority"), ("kind", "value"))}),
        ("Of what", {"fields": (("provider", "model"), ("meter", "processing"))}),
        ("When", {"fields": (("valid_from", "valid_to"), "created_by", "checks")}),
    )
    add_fieldsets = (
        *fieldsets[:2],
        (
            "When (UTC)",
            {"fields": (("valid_from", "valid_to"),), "description": "Empty: from now on, for good."},
        ),
    )
    readonly_fields = ("created_by", "checks")

    changed_with = operated_with = Right.BOOK  # people must not set what they pay

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        rule = form.instance
        found = effect_of_rule(rule.tenant, **_answers(form))
        span = f"{found.starts_at:%Y-%m-%d %H:%M} to {found.ends_at:%Y-%m-%d %H:%M} UTC"
        calls = f"{found.calls:,}" if found.is_complete else f"{found.calls:,} calls, there are more"
        rows = [[f"Calls looked at, {span}", calls], ["Of them dearer or cheaper", found.changed],
                ["Billed as it is, USD", found.billed_usd], ["Difference, USD", found.change_usd]]  # fmt: skip
        past = (
            "It is backdated: the re-rating of what was billed since is proposed within a minute, and nothing is booked"
            " before it is approved" + (" by somebody else." if four_eyes_of(rule.tenant) else ".")
        )
        ahead = (
            "What was billed stays as it is. The figures are those of the last 30 days, as if it had counted."
        )
        return Effect(
            change=str(rule),
            meaning=past if found.is_backdated else ahead,
            submit="Set this rule",
            table={"headers": ["", "Figure"], "rows": rows},
            note="Another rule of the same priority ends where this one begins, and goes on where it ends.",
        )

    def save_model(self, request: HttpRequest, obj: RateRule, form: Any, change: bool) -> None:
        rule = set_rule(obj.tenant, acting_user=request.user, **_answers(form))
        obj.pk, obj._state.adding = rule.pk, False

    @figure_column("Value", ordering="value")
    def worth(self, rule: RateRule) -> str:
        return "–" if rule.value is None else plain(rule.value)

    @display(description="Of")
    def fits(self, rule: RateRule) -> str:
        return "/".join(part or "*" for part in (rule.provider, rule.model, rule.meter, rule.processing))

    @display(description="Past usage")
    def checks(self, rule: RateRule) -> SafeString | str:
        """What the rule changes of the past: the proposals, or that there is nothing to change."""
        checks = RuleCheck.objects.filter(rule=rule).select_related("rerating").order_by("pk")[:CHECKS_SHOWN]
        rows = [
            [check.starts_at, check.ends_at, linked(check.rerating) if check.rerating else
             "nothing to re-rate" if check.checked_at else "is looked at within a minute"]
            for check in checks
        ]  # fmt: skip
        if not rows:
            return "It changes nothing that was billed before it was set."
        return render_to_string(
            "admin/table.html", {"table": {"headers": ["From", "Until", "Re-rating"], "rows": rows}}
        )

    @dialog_action(
        "End…",
        "stop_circle",
        title="Have this rule count no more?",
        text="What was billed under it stays as it is. Of a moment that is past, the re-rating of what was billed since is "
        "proposed within a minute, and waits for a person.",
        submit="End it",
        form=EndForm,
        is_destructive=True,
        refusals=(ValidationError,),
    )
    def end(self, request: HttpRequest, form: EndForm, rule: RateRule) -> str:
        def write() -> str:
            done = end_rule(rule, at=form.cleaned_data["at"], acting_user=request.user)
            return "The rule is ended." if done else "The rule had ended by then."

        return or_proposed(request, write)


def _answers(form: Any) -> dict[str, Any]:
    return {name: form.cleaned_data.get(name) for name in ("priority", *WHAT, "valid_from", "valid_to")}


def linked(rerating: Rerating) -> SafeString:
    """A proposal and what became of it, as a link."""
    return format_html('<a class="text-link" href="{}">{}</a>', page_of(rerating), rerating)
