"""The page of a closed month with all that was booked for it since; from it, a re-rating is proposed.

Invariant: reads only. The original stays: the statement's own page and files are what was issued.
"""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from billing.models import PriceRow, Rerating, Statement
from billing.months.files import statement_csv
from billing.months.statements import Restatement, restated
from billing.rerating.proposals import NothingToRerate, propose_for_price
from tenants.admin.access import finish
from tenants.admin.dialogs import list_of, page_of

ROWS_SHOWN = 200


def restated_page(request: HttpRequest, model_admin: Any, statement_id: int) -> HttpResponse:
    """Show a statement restated by when things happened, or with `format=csv` send its lines."""
    statement = model_admin.get_object(request, str(statement_id))
    if statement is None:
        raise Http404
    with restated(statement) as view:
        return _answer(request, statement, view)


def _answer(request: HttpRequest, statement: Statement, view: Restatement) -> HttpResponse:
    if request.GET.get("format") == "csv":
        at = datetime.now(UTC)
        response = HttpResponse(
            statement_csv(code=f"{statement.code} restated {at:%Y-%m-%d}"),
            content_type="text/csv; charset=utf-8",
        )
        name = f"{statement.tenant.slug}-{statement.code}-restated-{at:%Y%m%d}.csv"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["Cache-Control"] = "no-store"
        return response
    steps = (
        ("As issued", view.issued_usd),
        ("Corrections of earlier months on it", -view.carried_usd),
        ("Booked for this month since", view.later_usd),
        ("Restated", view.restated_usd),
    )
    rows = [
        [line.category, line.cost_center or "–", line.user_id or "–", line.model or line.text or "–", line.meter or "–",
         line.quantity, line.exact_usd]
        for line in islice(view.lines, ROWS_SHOWN)
    ]  # fmt: skip
    context = {
        **admin.site.each_context(request),
        "title": f"{statement.code} restated",
        "statement": statement,
        "steps": {"headers": ["", "USD"], "rows": [list(step) for step in steps]},
        "lines": {
            "headers": ["Category", "Cost centre", "User", "Model", "Meter", "Quantity", "USD"],
            "rows": rows,
        },
        "hidden": len(view.lines) - len(rows),
    }
    return TemplateResponse(request, "admin/restated.html", context)


class ProposeForm(BaseDialogForm):
    """The price row that corrects the past."""

    price = forms.ModelChoiceField(
        PriceRow.objects.filter(superseded_at=None),
        widget=UnfoldAdminTextInputWidget(),
        label="Id of the corrected price",
        help_text="Usage that it is valid for is rated again; nothing is booked before a person approves.",
    )


def propose(request: HttpRequest, form: ProposeForm) -> HttpResponse:
    """Propose the re-rating of a price's usage, and lead to the proposal. Raises ValidationError."""
    try:
        proposal = propose_for_price(form.cleaned_data["price"], acting_user=request.user)
    except NothingToRerate as error:
        return finish(request, list_of(Rerating), str(error), level=messages.INFO)
    return finish(request, page_of(proposal), f"Proposed: {proposal}.")
