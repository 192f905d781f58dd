"""The page of requests for a raise: who asks for how much and why, and the decision.

Invariant: the page calls the same functions as all other callers; nothing of a request is edited by hand.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.timezone import now
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin.budgets import may_decide
from billing.admin.figures import amount_of
from billing.budgets.raise_requests import approve_raise, refuse_raise
from billing.models import RaiseRequest
from tenants.admin.access import ReadOnlyAdmin
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action


class ApprovalForm(BaseDialogForm):
    """What else to say about it."""

    reason = forms.CharField(
        max_length=300, required=False, label="Remark", widget=UnfoldAdminTextInputWidget()
    )


class RefusalForm(BaseDialogForm):
    """Why not."""

    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextInputWidget())


@admin.register(RaiseRequest)
class RaiseRequestAdmin(ReadOnlyAdmin):
    """Requests for a raise, newest first."""

    list_display = (
        "created_at",
        "tenant",
        "budget",
        "more",
        "ends_at",
        "reason",
        "shown_asker",
        "shown_state",
        "decided_by",
    )
    list_filter = (("tenant", SeenRowsFilter), ("state", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "budget", "requested_by", "decided_by")
    search_fields = ("reason", "end_user", "tenant__slug")
    actions_detail = ("approve", "refuse")
    fieldsets = (
        ("Asked", {"fields": (("tenant", "budget"), ("more", "ends_at"), "reason", ("shown_asker", "created_at"))}),
        ("Decided", {"fields": (("shown_state", "expires_at"), ("decided_by", "decided_at"), "decision_reason", "granted")}),
    )  # fmt: skip
    readonly_fields = ("more", "shown_asker", "shown_state")

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        budget = getattr(obj, "budget", None)
        return super().has_operate_permission(request, obj) and may_decide(request, budget)

    @figure_column("More", ordering="extra_amount")
    def more(self, asked: RaiseRequest) -> str:
        return amount_of(asked.budget.unit, asked.extra_amount)

    @display(description="Asked by")
    def shown_asker(self, asked: RaiseRequest) -> str:
        return asked.asker

    @display(
        description="State",
        ordering="state",
        label={"pending": "warning", "approved": "success", "refused": "danger", "expired": ""},
    )
    def shown_state(self, asked: RaiseRequest) -> str:
        is_late = asked.state == RaiseRequest.State.PENDING and asked.expires_at <= now()
        return RaiseRequest.State.EXPIRED if is_late else asked.state

    @dialog_action(
        "Approve…",
        "check_circle",
        title="Grant this raise?",
        text="Counts from now on, in every worker, until the day that was asked for.",
        submit="Grant it",
        form=ApprovalForm,
        refusals=(ValidationError,),
    )
    def approve(self, request: HttpRequest, form: ApprovalForm, asked: RaiseRequest) -> str:
        granted = approve_raise(asked, acting_user=request.user, reason=form.cleaned_data["reason"])
        return f"Granted: {granted}."

    @dialog_action(
        "Refuse…",
        "block",
        title="Refuse this raise?",
        text="The person who asked reads your reason.",
        submit="Refuse it",
        form=RefusalForm,
        refusals=(ValidationError,),
    )
    def refuse(self, request: HttpRequest, form: RefusalForm, asked: RaiseRequest) -> str:
        refuse_raise(asked, acting_user=request.user, reason=form.cleaned_data["reason"])
        return "Refused."
