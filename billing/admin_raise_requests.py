"""The page of requests for a raise: who asks for how much and why, and the decision.

Invariant: a request is decided here by the same verbs as anywhere; nothing of it is edited by hand.
"""

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.timezone import now
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin_figures import amount_of
from billing.models import RaiseRequest
from billing.raise_requests import approve_raise, refuse_raise
from tenants.admin_access import ReadOnlyAdmin, finish, owned


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
    list_filter = (("tenant", AutocompleteSelectFilter), ("state", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "budget", "requested_by", "decided_by")
    search_fields = ("reason", "end_user", "tenant__slug")
    actions_detail = ("approve", "refuse")
    fieldsets = (
        ("Asked", {"fields": (("tenant", "budget"), ("more", "ends_at"), "reason", ("shown_asker", "created_at"))}),
        ("Decided", {"fields": (("shown_state", "expires_at"), ("decided_by", "decided_at"), "decision_reason", "granted")}),
    )  # fmt: skip
    readonly_fields = ("more", "shown_asker", "shown_state")

    @display(description="More", ordering="extra_amount")
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

    @action(
        permissions=["operate"],
        description="Approve…",
        icon="check_circle",
        dialog={
            "title": "Grant this raise?",
            "description": "Counts from now on, in every worker, until the day that was asked for.",
            "form_class": ApprovalForm,
            "form_submit_text": "Grant it",
        },
    )
    def approve(self, request: HttpRequest, form: ApprovalForm, object_id: str) -> HttpResponse:
        asked = owned(self, request, object_id)
        url = reverse("admin:billing_raiserequest_change", args=(asked.pk,))
        try:
            granted = approve_raise(asked, acting_user=request.user, reason=form.cleaned_data["reason"])
        except ValidationError as error:
            return finish(request, url, " ".join(error.messages), level=messages.ERROR)
        return finish(request, url, f"Granted: {granted}.")

    @action(
        permissions=["operate"],
        description="Refuse…",
        icon="block",
        dialog={
            "title": "Refuse this raise?",
            "description": "Whoever asked reads your reason.",
            "form_class": RefusalForm,
            "form_submit_text": "Refuse it",
        },
    )
    def refuse(self, request: HttpRequest, form: RefusalForm, object_id: str) -> HttpResponse:
        asked = owned(self, request, object_id)
        url = reverse("admin:billing_raiserequest_change", args=(asked.pk,))
        try:
            refuse_raise(asked, acting_user=request.user, reason=form.cleaned_data["reason"])
        except ValidationError as error:
            return finish(request, url, " ".join(error.messages), level=messages.ERROR)
        return finish(request, url, "Refused.")
