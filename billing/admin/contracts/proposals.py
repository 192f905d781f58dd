"""The page of agreements that wait for another person, and what became of them.

Invariant: a proposal is made by whoever wanted to write, and decided by the domain functions; nothing here edits one.
"""

from collections.abc import Callable
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter
from unfold.decorators import display
from unfold.forms import BaseDialogForm

from billing.contracts.agreeing import approve, propose, reject
from billing.four_eyes import NeedsAnother
from billing.models import AgreementProposal
from config.site import cells
from tenants.admin.access import TenantScopedAdmin, Unedited
from tenants.admin.choices import SeenRowsFilter
from tenants.admin.dialogs import dialog_action, page_of
from tenants.people.rights import Right

LONGEST: Final = 5_000  # of a text


def or_proposed(request: HttpRequest, write: Callable[[], str]) -> str:
    """What `write` says, or that it waits: it is proposed where another person has to approve it. For dialogs."""
    try:
        return write()
    except NeedsAnother as needed:
        return waits(propose(needed, acting_user=request.user))


def waits(proposal: AgreementProposal) -> SafeString:
    """That a proposal waits, with the way to it."""
    return format_html(
        'It waits until somebody else approves it: <a class="text-link" href="{}">{}</a>.',
        page_of(proposal),
        proposal,
    )


@admin.register(AgreementProposal)
class AgreementProposalAdmin(Unedited, TenantScopedAdmin):
    """Top-ups, commitments, rate rules and rates: who proposed them, and who approved them."""

    list_display = ("proposed_at", "tenant", "kind", "summary", "shown_status", "proposed_by", "decided_by")
    list_filter = (
        ("tenant", SeenRowsFilter),
        ("kind", ChoicesCheckboxFilter),
        ("status", ChoicesCheckboxFilter),
    )
    list_select_related = ("tenant", "proposed_by", "decided_by")
    search_fields = ("summary", "tenant__slug")
    actions_detail = ("approve", "reject")
    fieldsets = (
        (None, {"fields": (("tenant", "kind"), "summary", "shown_arguments")}),
        (
            "Decision",
            {"fields": ("shown_status", ("proposed_at", "proposed_by"), ("decided_at", "decided_by"))},
        ),
    )
    readonly_fields = ("shown_status", "shown_arguments")
    changed_with = operated_with = Right.BOOK

    @display(description="Status", label={"proposed": "warning", "done": "success", "rejected": "danger"})
    def shown_status(self, proposal: AgreementProposal) -> str:
        return proposal.status

    @display(description="As it would be written")
    def shown_arguments(self, proposal: AgreementProposal) -> SafeString:
        shown = {
            name: f"{value[:LONGEST]} …" if isinstance(value, str) and len(value) > LONGEST else value
            for name, value in proposal.arguments.items()
        }
        return cells.json_block(shown)

    @dialog_action(
        "Approve",
        "check_circle",
        title="Write this?",
        text="It counts from now on, or from when it says, with both names. Whoever proposed it cannot approve it.",
        submit="Write it",
        refusals=(ValidationError,),
        offered=lambda proposal: proposal.status == AgreementProposal.Status.PROPOSED,
    )
    def approve(self, request: HttpRequest, form: BaseDialogForm, proposal: AgreementProposal) -> str:
        return f"Written: {approve(proposal, acting_user=request.user)}."

    @dialog_action(
        "Reject",
        "cancel",
        title="Write nothing?",
        text="The proposal stays here, with your name.",
        submit="Reject",
        is_destructive=True,
        refusals=(ValidationError,),
        offered=lambda proposal: proposal.status == AgreementProposal.Status.PROPOSED,
    )
    def reject(self, request: HttpRequest, form: BaseDialogForm, proposal: AgreementProposal) -> Any:
        reject(proposal, acting_user=request.user)
        return "Rejected."
