"""Pages of months: each leads to its report; a person closes it here, or where it needs four eyes, two of them do.

Invariant: the buttons call the verbs of `billing.months.jobs.approving`, which say who may do what. Nobody is shown the button
that confirms what they asked for.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.admin.months.files import month_file, page_of_month
from billing.admin.months.reports import reports_page
from billing.four_eyes import four_eyes_of
from billing.models import BillingPeriod
from billing.months.closing import CannotClose
from billing.months.jobs import approving
from billing.months.jobs.approving import waits
from billing.months.jobs.asking import TooManyJobs
from config.site.cells import NOTHING, moment
from tenants.admin.access import ReadOnlyAdmin, finish
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action
from tenants.people.rights import Right


class ClosingForm(BaseDialogForm):
    """Why a month is closed before its time, if it is."""

    forced_reason = forms.CharField(
        required=False,
        max_length=300,
        widget=UnfoldAdminTextInputWidget(),
        label="Reason, if before its time",
        help_text="Needed while its grace is not over, or calls are still open.",
    )


@admin.register(BillingPeriod)
class BillingPeriodAdmin(ReadOnlyAdmin):
    """Months; each leads to its report."""

    list_display = ("label", "tenant", "shown_status", "starts_at", "ends_at", "timezone", "closed_at")
    list_filter = (("tenant", SeenRowsFilter), ("status", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "close_asked_by", "close_confirmed_by")
    search_fields = ("label", "tenant__slug")
    actions_detail = ("open_report", "close_month", "confirm_close", "take_back_close")
    custom_urls = (
        ("reports/", "billing_reports", reports_page),
        ("reports/file/<int:file_id>/", "billing_month_file", month_file),
    )
    fieldsets = (
        (None, {"fields": (("label", "tenant"), ("starts_at", "ends_at"), ("timezone", "shown_status"))}),
        ("Closing", {"fields": ("asked", "confirmed", "closed_at", "digest")}),
    )
    readonly_fields = ("shown_status", "asked", "confirmed")
    operated_with = Right.CLOSE

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        buttons = super().get_actions_detail(request, object_id)
        period = self.get_object(request, str(object_id))
        if period is None or period.close_asked_by_id != request.user.pk:
            return buttons
        return [button for button in buttons if button.method.__name__ != "confirm_close"]

    @display(
        description="Status",
        label={
            "open": "success",
            "waits for another person": "warning",
            "closing": "warning",
            "closed": "info",
        },
    )
    def shown_status(self, period: BillingPeriod) -> str:
        return "waits for another person" if waits(period) else period.status

    @display(description="Asked to close it")
    def asked(self, period: BillingPeriod) -> SafeString | str:
        if period.close_asked_at is None:
            return (
                "by nobody yet: one person asks, another confirms" if four_eyes_of(period.tenant) else NOTHING
            )
        reason = f": {period.close_reason}" if period.close_reason else ""
        at = moment(period.close_asked_at, zone=period.timezone)
        return format_html("{}, {}{}", approving.asker_of(period), at, reason)

    @display(description="Confirmed it")
    def confirmed(self, period: BillingPeriod) -> SafeString | str:
        if period.close_confirmed_at is None or period.close_confirmed_by is None:
            return "nobody yet" if waits(period) else NOTHING
        at = moment(period.close_confirmed_at, zone=period.timezone)
        return format_html("{}, {}", period.close_confirmed_by.get_username(), at)

    @action(description="Month report", icon="summarize")
    def open_report(self, request: HttpRequest, object_id: int) -> HttpResponse:
        period = self.get_object(request, str(object_id))
        if period is None:
            raise Http404
        return redirect(page_of_month(period))

    @dialog_action(
        "Close…",
        "lock",
        title="Close this month for good?",
        text="Its statement is made from the ledger; what comes later is a correction in the open month. Where the tenant's"
        " policy asks for four eyes, another person confirms it first.",
        submit="Close",
        form=ClosingForm,
        refusals=(CannotClose, TooManyJobs),
        offered=lambda period: not waits(period),
    )
    def close_month(
        self, request: HttpRequest, form: ClosingForm, period: BillingPeriod
    ) -> HttpResponse | str:
        reason = form.cleaned_data["forced_reason"]
        if approving.close_or_ask(period, acting_user=request.user, reason=reason) is None:
            return f"You asked to close {period.label}. Another person confirms it."
        return finish(request, page_of_month(period), f"{period.label} is being closed; its files follow.")

    @dialog_action(
        "Confirm close…",
        "verified_user",
        title="Close this month for good, as was asked?",
        text="With your name beside the one of who asked. Its statement is made from the ledger; what comes later is a correction"
        " in the open month.",
        submit="Confirm and close",
        refusals=(CannotClose, TooManyJobs),
        offered=waits,
    )
    def confirm_close(
        self, request: HttpRequest, form: BaseDialogForm, period: BillingPeriod
    ) -> HttpResponse:
        approving.confirm(period, acting_user=request.user)
        return finish(request, page_of_month(period), f"{period.label} is being closed; its files follow.")

    @dialog_action(
        "Take back",
        "undo",
        title="Leave this month open?",
        text="Nobody is asked to confirm its close any more; anybody who may close it can ask again.",
        submit="Leave it open",
        is_destructive=True,
        refusals=(CannotClose,),
        offered=waits,
    )
    def take_back_close(self, request: HttpRequest, form: BaseDialogForm, period: BillingPeriod) -> str:
        approving.take_back(period)
        return f"{period.label} stays open."
