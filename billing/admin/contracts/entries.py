"""The pages of what is entered in the books by hand: credits and adjustments.

Invariant: an entry is made by the domain functions, after its effect was shown; nothing here edits one.
"""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from billing.admin.contracts.confirming import AsksFirst, Effect
from billing.contracts.entries import approve_entry, effect_of_entry, propose_entry, reject_entry
from billing.models import EntryProposal, ManualEntry
from config.site.cells import NOTHING
from tenants.admin.access import TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.columns import figure_column
from tenants.admin.dialogs import dialog_action, page_of
from tenants.people.rights import Right

WHAT = ("kind", "subject", "subject_value", "month", "amount_usd", "reason")


class EntryForm(forms.ModelForm[EntryProposal]):
    """Shows next to each field what the domain functions would refuse."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        amount, kind = cleaned.get("amount_usd"), cleaned.get("kind")
        if amount is not None and (amount == 0 or (kind == ManualEntry.Kind.CREDIT and amount < 0)):
            self.add_error("amount_usd", "A credit is what is given back, above 0; an adjustment is not 0.")
        if "subject" in cleaned and (cleaned["subject"] == "tenant") != (not cleaned.get("subject_value")):
            self.add_error("subject_value", "Name the cost centre or the user; nothing for the whole tenant.")
        return cleaned


@admin.register(EntryProposal)
class EntryProposalAdmin(AsksFirst, Unedited, TenantScopedAdmin):
    """Credits and adjustments: who wants them for whom, and who approved them."""

    form = EntryForm
    list_display = (
        "proposed_at", "tenant", "kind", "whose", "month", "amount", "reason", "shown_status", "proposed_by", "decided_by"
    )  # fmt: skip
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("kind", ChoicesCheckboxFilter),
        ("status", ChoicesCheckboxFilter),
    )
    list_select_related = ("tenant", "proposed_by", "decided_by")
    search_fields = ("reason", "tenant__slug", "subject_value")
    autocomplete_fields = ("tenant",)
    actions_detail = ("approve", "reject")
    add_fieldsets = (
        (
            None,
            {"fields": (("tenant", "kind"), ("subject", "subject_value"), ("month", "amount_usd"), "reason")},
        ),
    )
    fieldsets = (
        *add_fieldsets,
        ("Decision", {"fields": (("shown_status", "entry"), ("proposed_at", "proposed_by"), ("decided_at", "decided_by"))}),
    )  # fmt: skip
    readonly_fields = ("shown_status", "entry", "proposed_at", "proposed_by", "decided_at", "decided_by")

    changed_with = operated_with = Right.BOOK  # people must not give themselves a credit

    def has_add_permission(self, request: HttpRequest) -> bool:
        return TenantScopedAdmin.has_add_permission(self, request)

    def effect_of(self, request: HttpRequest, form: Any) -> Effect:
        proposal = form.instance
        effect = effect_of_entry(proposal)
        waits = (
            "It waits until somebody else approves it: the tenant's policy asks for four eyes. "
            if effect.waits
            else ""
        )
        where = (
            f"It is booked in {effect.booked_in}."
            if effect.month == effect.booked_in
            else f"{effect.month} is closed and stays as it is; it is booked in {effect.booked_in}, as a correction."
        )
        rows = [
            [f"Paid for {effect.month} so far, USD", effect.paid_usd],
            ["With this entry, USD", effect.then_usd],
        ]
        return Effect(
            change=str(proposal),
            meaning=waits + where + " An entry is never edited: another one takes it back.",
            submit="Propose it" if effect.waits else "Book it",
            table={"headers": ["", "Figure"], "rows": rows},
            note="More is given back than was paid." if effect.then_usd < 0 <= effect.paid_usd else "",
        )

    def save_model(self, request: HttpRequest, obj: EntryProposal, form: Any, change: bool) -> None:
        made = propose_entry(
            obj.tenant, acting_user=request.user, **{name: getattr(obj, name) for name in WHAT}
        )
        obj.pk, obj._state.adding = made.pk, False

    @figure_column("USD", ordering="amount_usd")
    def amount(self, proposal: EntryProposal) -> Decimal:
        return -proposal.amount_usd if proposal.kind == ManualEntry.Kind.CREDIT else proposal.amount_usd

    @display(description="For", ordering="subject_value")
    def whose(self, proposal: EntryProposal) -> str:
        return proposal.subject_value or proposal.get_subject_display()

    @display(description="Status", label={"proposed": "warning", "booked": "success", "rejected": "danger"})
    def shown_status(self, proposal: EntryProposal) -> str:
        return proposal.status

    @display(description="Entry")
    def entry(self, proposal: EntryProposal) -> SafeString | str:
        entry = ManualEntry.objects.select_related("tenant", "period").filter(pk=proposal.pk).first()
        if entry is None:
            return NOTHING
        link = format_html('<a class="text-link" href="{}">{}</a>', page_of(entry), entry)
        return format_html("{}, booked in {}", link, entry.period.label)

    @dialog_action(
        "Approve",
        "check_circle",
        title="Book this entry?",
        text="Into its month, or the open one if that is closed, with your name. It is never edited afterwards.",
        submit="Book it",
        refusals=(ValidationError,),
        offered=lambda proposal: proposal.status == EntryProposal.Status.PROPOSED,
    )
    def approve(self, request: HttpRequest, form: BaseDialogForm, proposal: EntryProposal) -> str:
        return f"Booked: {approve_entry(proposal, acting_user=request.user)}."

    @dialog_action(
        "Reject",
        "cancel",
        title="Book nothing?",
        text="The proposal stays here, with your name.",
        submit="Reject",
        is_destructive=True,
        refusals=(ValidationError,),
        offered=lambda proposal: proposal.status == EntryProposal.Status.PROPOSED,
    )
    def reject(self, request: HttpRequest, form: BaseDialogForm, proposal: EntryProposal) -> str:
        reject_entry(proposal, acting_user=request.user)
        return "Rejected."


@admin.register(ManualEntry)
class ManualEntryAdmin(Unedited, TenantScopedAdmin):
    """What is booked of credits and adjustments."""

    list_display = (
        "entered_at", "tenant", "kind", "whose", "month", "amount", "reason", "period", "entered_by", "approved_by"
    )  # fmt: skip
    list_filter = (("tenant", SeenRowsFilter), ("kind", ChoicesCheckboxFilter))
    list_select_related = ("tenant", "period__tenant", "entered_by", "approved_by")
    search_fields = ("reason", "tenant__slug", "subject_value")
    fieldsets = (
        (
            None,
            {"fields": (("tenant", "kind"), ("subject", "subject_value"), ("month", "amount_usd"), "reason")},
        ),
        ("Booked", {"fields": (("period", "entered_at"), ("entered_by", "approved_by"))}),
    )

    @figure_column("USD", ordering="amount_usd")
    def amount(self, entry: ManualEntry) -> Decimal:
        return entry.amount_usd

    @display(description="For", ordering="subject_value")
    def whose(self, entry: ManualEntry) -> str:
        return entry.subject_value or entry.get_subject_display()
