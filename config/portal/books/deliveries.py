"""Reports that are delivered by themselves: the tenant's own schedules, and the files that their links lead to.

Invariant: a tenant's people send its reports to its people and to storages that they have keys of; never into a folder of this
machine. A key is written, never shown. A signed link needs no account, and ends.
"""

from typing import Any, Final

import structlog
from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.html import format_html
from django.views.decorators.http import require_POST, require_safe

from billing.admin.months.schedules import table_of
from billing.deliveries.links import LinkEnded, file_of
from billing.deliveries.outbox import SECRETS
from billing.deliveries.schedules import OF_STATEMENTS, remove_schedule, save_schedule
from billing.models import ReportDelivery, ReportSchedule
from billing.months.exports import ASKED
from billing.months.sending import named, sent_content
from config.portal.access import Visitor, page, private
from config.portal.forms import take_errors
from config.portal.layout import address, show
from config.site import cells
from tenants.contents import ContentMissing
from tenants.people.rights import Right

MOST_SHOWN: Final = 50
KINDS: Final = (ReportSchedule.Kind.EMAIL, ReportSchedule.Kind.S3)
NAMES: Final = (
    "name",
    "what",
    "formats",
    "when",
    "day",
    "hour",
    "kind",
    "target",
    "endpoint",
    "region",
    "is_active",
)
KEEPS: Final = "Empty keeps the one that is stored."
log = structlog.get_logger(__name__)


def _secret(label: str) -> forms.CharField:
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.CharField(required=False, label=label, max_length=300, widget=widget, help_text=KEEPS)


class ScheduleForm(forms.Form):
    """What goes where, and when."""

    name = forms.CharField(max_length=100)
    what = forms.ChoiceField(choices=ReportSchedule.What.choices)
    formats = forms.MultipleChoiceField(
        required=False,
        choices=[(name, name) for name in dict.fromkeys((*OF_STATEMENTS, *ASKED))],
        widget=forms.CheckboxSelectMultiple,
        help_text="Of a report or a statement. A pack has all.",
    )
    when = forms.ChoiceField(choices=ReportSchedule.When.choices)
    day = forms.IntegerField(
        min_value=1, max_value=28, required=False, label="Day of the month", help_text="Of a monthly one."
    )
    hour = forms.IntegerField(min_value=0, max_value=23, initial=6, help_text="In the tenant's time zone.")
    kind = forms.ChoiceField(choices=[(kind.value, kind.label) for kind in KINDS], label="Goes to")
    target = forms.CharField(
        max_length=300,
        label="Where",
        help_text="E-mail addresses of your people, with commas between them; or bucket/prefix.",
    )
    endpoint = forms.CharField(
        max_length=300, required=False, help_text="Of a storage: its https:// address; empty for Amazon's."
    )
    region = forms.CharField(max_length=40, required=False, help_text="Of a storage, such as eu-central-1.")
    access_key = _secret("Access key")
    secret_key = _secret("Secret key")
    is_active = forms.BooleanField(required=False, initial=True, label="Active")


@page(Right.CLOSE)
def list_schedules(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """The schedules, each with its last deliveries."""
    schedules = ReportSchedule.objects.filter(tenant=visitor.tenant).select_related("tenant").defer(*SECRETS)
    rows = [_row(visitor, schedule) for schedule in schedules[:MOST_SHOWN]]
    last = ReportDelivery.objects.filter(tenant=visitor.tenant).select_related("schedule")
    last = last.defer(*(f"schedule__{name}" for name in SECRETS)).order_by("-created_at")
    shown = [(one, one.schedule.name) for one in last[:MOST_SHOWN]]
    deliveries = table_of([one for one, _ in shown], zone=visitor.tenant.timezone)
    deliveries["headers"] = ["Schedule", *deliveries["headers"]]
    deliveries["rows"] = [[name, *row] for (_, name), row in zip(shown, deliveries["rows"], strict=True)]
    context = {
        "schedules": {
            "headers": ["Name", "What", "When", "Goes to", "Where", "State"],
            "rows": rows,
            "empty": "None yet: reports are fetched under Months, or over the API.",
        },
        "deliveries": deliveries,
    }
    return show(request, visitor, "deliveries.html", context, title="Deliveries of reports")


@page(Right.CLOSE)
def add_schedule(request: HttpRequest, visitor: Visitor) -> HttpResponse:
    """Make a schedule."""
    return _form(request, visitor, ReportSchedule(tenant=visitor.tenant), title="A new delivery")


@page(Right.CLOSE)
def change_schedule(request: HttpRequest, visitor: Visitor, schedule_id: int) -> HttpResponse:
    """Change a schedule, or pause it."""
    schedule = _find(visitor, schedule_id)
    return _form(request, visitor, schedule, title=schedule.name)


@page(Right.CLOSE)
@require_POST
def remove(request: HttpRequest, visitor: Visitor, schedule_id: int) -> HttpResponse:
    """Remove a schedule with its history; its links end."""
    schedule = _find(visitor, schedule_id)
    remove_schedule(schedule, acting_user=visitor.user)
    messages.success(
        request, f"{schedule.name} is removed: nothing more is delivered, and its links have ended."
    )
    return redirect(address(visitor, "deliveries"))


@require_safe
def delivered_file(request: HttpRequest, token: str) -> HttpResponseBase:
    """`/portal/files/<token>/`: a file that was sent as a link. Whoever has the link gets it, until it ends."""
    try:
        file = file_of(token)
        response: HttpResponseBase
        if file.content is not None:
            response = named(HttpResponse(file.content, content_type=file.content_type), file.name)
        else:
            response = sent_content(
                file.owner, file.location, name=file.name, content_type=file.content_type, size=file.size
            )
    except (LinkEnded, ContentMissing):
        raise Http404("this link has ended") from None
    log.info("delivered_file_fetched", file=file.id, source=file.source, tenant=file.owner)
    return private(response)


def _form(request: HttpRequest, visitor: Visitor, schedule: ReportSchedule, *, title: str) -> HttpResponse:
    is_new = schedule._state.adding
    initial = {name: getattr(schedule, name) for name in NAMES}
    if schedule.kind == ReportSchedule.Kind.FOLDER:  # an operator's
        messages.error(request, "An operator made this one, into a folder: ask them to change it.")
        return redirect(address(visitor, "deliveries"))
    form = ScheduleForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            _take(schedule, form.cleaned_data)
            save_schedule(schedule, acting_user=visitor.user, by_tenant=True)
        except ValidationError as error:
            take_errors(form, error)
        else:
            messages.success(request, f"{schedule.name} is set.")
            return redirect(address(visitor, "deliveries"))
    context = {
        "form": form,
        "verb": "Make it" if is_new else "Change it",
        "effect": "Files go out by themselves from now on, until you pause it. Whoever gets them reads the whole tenant's spend.",
        "back": address(visitor, "deliveries"),
        "remove": "" if is_new else address(visitor, "remove_schedule", schedule_id=schedule.pk),
    }
    return show(request, visitor, "delivery.html", context, title=title)


def _take(schedule: ReportSchedule, answers: dict[str, Any]) -> None:
    for name in NAMES:
        setattr(schedule, name, answers[name])
    for name in SECRETS:
        if answers[name]:
            setattr(schedule, name, answers[name])


def _find(visitor: Visitor, schedule_id: int) -> ReportSchedule:
    schedules = ReportSchedule.objects.filter(tenant=visitor.tenant).select_related("tenant")
    return get_object_or_404(schedules, pk=schedule_id)


def _row(visitor: Visitor, schedule: ReportSchedule) -> list[Any]:
    when = schedule.get_when_display() + (f": {schedule.day}" if schedule.day else "")
    return [
        cells.link(address(visitor, "schedule", schedule_id=schedule.pk), schedule.name),
        f"{schedule.get_what_display()} {', '.join(schedule.formats)}".strip(),
        when,
        schedule.get_kind_display(),
        schedule.target,
        "active" if schedule.is_active else format_html("<b>{}</b>", "paused"),
    ]
