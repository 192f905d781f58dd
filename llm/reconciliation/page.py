"""The page of reconciliation: an account and some days, what does not match, and our records behind it.

Invariant: parses, calls one function of `llm.reconciliation.pulling`, and shows what is stored. Operators only.
"""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import now

from billing.admin.figures import exact_usd, usd
from billing.models import CostComparison, CostReport, UsageRecord
from billing.reconciliation.provider_reports import InvalidReport
from billing.reconciliation.rows import model_names
from llm.models import Provider
from llm.reconciliation.pulling import CannotPull, pull, upload

DAY = timedelta(days=1)
DAYS_SHOWN = 7
ROWS_SHOWN, RECORDS_SHOWN = 200, 100
LARGEST_FILE_BYTES = 20 * 1024 * 1024
Kind, Status = CostComparison.Kind, CostComparison.Status


class Choice(forms.Form):
    """An account and a span of UTC days."""

    provider = forms.ModelChoiceField(queryset=Provider.objects.order_by("name"), to_field_name="name")
    first = forms.DateField()
    last = forms.DateField()

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("first") and cleaned.get("last") and cleaned["last"] < cleaned["first"]:
            raise ValidationError("The last day lies before the first.")
        return cleaned


def reconciliation_page(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show an account's days; a POST pulls them, or takes a file, and shows them then."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    if request.method == "POST":
        if not model_admin.has_operate_permission(request):
            raise PermissionDenied
        return _reconcile(request)
    return _page(request, _chosen(request), may_operate=model_admin.has_operate_permission(request))


def plain_quantity(quantity: Decimal | None) -> str:
    """Return "1,234"; a dash where the report has none."""
    return "–" if quantity is None else f"{quantity.normalize():,f}"


def _reconcile(request: HttpRequest) -> HttpResponse:
    form = Choice(request.POST)
    if not form.is_valid():
        _show_problems(request, form)
        return redirect("admin:billing_reconciliation")
    provider, first, last = (form.cleaned_data[name] for name in ("provider", "first", "last"))
    file = request.FILES.get("file")
    try:
        if file is None:
            done = pull(provider, first=first, last=last, acting_user=cast(User, request.user))
        elif (file.size or 0) > LARGEST_FILE_BYTES:
            raise InvalidReport("the file is too large for a cost report")
        else:
            done = upload(
                provider, file.read(), file_name=file.name or "", acting_user=cast(User, request.user)
            )
            first, last = done.report.first_day, done.report.last_day
    except (CannotPull, InvalidReport) as error:
        messages.error(request, str(error))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    else:
        messages.success(
            request, f"{done.report.line_count} lines compared; {done.open_count} differences are open."
        )
    url = reverse("admin:billing_reconciliation")
    return redirect(f"{url}?provider={provider.name}&first={first}&last={last}")


def _chosen(request: HttpRequest) -> dict[str, Any]:
    """The account and days of the address, or the usual ones where it names none."""
    today = now().astimezone(UTC).date()
    first_account = Provider.objects.order_by("name").values_list("name", flat=True).first()
    form = Choice(
        {
            "provider": request.GET.get("provider") or first_account,
            "first": request.GET.get("first") or today - DAYS_SHOWN * DAY,
            "last": request.GET.get("last") or today - DAY,
        }
    )
    if form.is_valid():
        return form.cleaned_data
    if first_account:
        _show_problems(request, form)
    return {"provider": None, "first": today - DAYS_SHOWN * DAY, "last": today - DAY}


def _page(request: HttpRequest, chosen: dict[str, Any], *, may_operate: bool) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        **chosen,
        "title": "Reconciliation",
        "accounts": Provider.objects.order_by("name"),
        "may_operate": may_operate,
    }
    if chosen["provider"] is not None:
        context |= _summary(**chosen) | _records(request, chosen["provider"])
    return TemplateResponse(request, "admin/reconciliation.html", context)


def _summary(*, provider: Provider, first: date, last: date) -> dict[str, Any]:
    rows = CostComparison.objects.filter(provider=provider.name, day__range=(first, last))
    sums = rows.aggregate(
        theirs=Sum("their_usd", default=Decimal(0)),
        ours=Sum("our_usd", default=Decimal(0)),
        all=Count("pk"),
        matching=Count("pk", filter=Q(kind=Kind.MATCH)),
        open=Count("pk", filter=Q(status=Status.OPEN)),
    )
    report = CostReport.objects.filter(provider=provider.name).first()
    differing = rows.exclude(kind=Kind.MATCH).order_by("-day", "model", "meter")
    return {
        "cards": [
            {
                "title": "Billed by the provider",
                "value": usd(sums["theirs"]),
                "note": f"{sums['theirs']:.12f} USD",
            },
            {"title": "In our ledger", "value": usd(sums["ours"]), "note": f"{sums['ours']:.12f} USD"},
            {
                "title": "Difference",
                "value": usd(sums["theirs"] - sums["ours"]),
                "note": f"{sums['matching']} of {sums['all']} comparisons match",
            },
            {
                "title": "Open",
                "value": str(sums["open"]),
                "note": f"last report {report.fetched_at:%Y-%m-%d %H:%M} UTC" if report else "no report yet",
            },
        ],
        "differences": _differences(list(differing[:ROWS_SHOWN])),
        "hidden": max(0, sums["all"] - sums["matching"] - ROWS_SHOWN),
        "has_rows": bool(sums["all"]),
    }


def _differences(rows: list[CostComparison]) -> dict[str, Any] | None:
    headers = [
        "Day", "Model", "Meter", "Kind", "Their quantity", "Ours", "Theirs, USD", "Ours, USD", "Difference",
        "Tolerance", "Status", "",
    ]  # fmt: skip
    found = [
        [
            str(row.day),
            row.model or "–",
            row.meter or "–",
            format_html('<span title="{}">{}</span>', row.detail, row.why),
            plain_quantity(row.their_quantity),
            plain_quantity(row.our_quantity),
            exact_usd(row.their_usd),
            exact_usd(row.our_usd),
            exact_usd(row.difference_usd),
            "within" if row.is_within_tolerance else "out of it",
            format_html('<span title="{}">{}</span>', row.reason, row.status),
            _links(row),
        ]
        for row in rows
    ]
    return {"headers": headers, "rows": found} if found else None


def _links(row: CostComparison) -> SafeString:
    return format_html(
        '<a class="text-primary-600" href="{}">Open</a> · <a class="text-primary-600"'
        ' href="?provider={}&amp;first={}&amp;last={}&amp;row={}">Our records</a>',
        reverse("admin:billing_costcomparison_change", args=(row.pk,)),
        row.provider,
        row.day,
        row.day,
        row.pk,
    )


def _records(request: HttpRequest, provider: Provider) -> dict[str, Any]:
    """Our records of a comparison's day and model, where one is asked for."""
    number = request.GET.get("row", "")
    row = (
        CostComparison.objects.filter(pk=number, provider=provider.name).first() if number.isdigit() else None
    )
    if row is None:
        return {}
    names = model_names(provider.name)
    starts = datetime.combine(row.day, time(), UTC)
    of_day = UsageRecord.objects.filter(
        provider=provider.name, occurred_at__gte=starts, occurred_at__lt=starts + DAY
    ).exclude(usage_source=UsageRecord.Source.GATEWAY_CACHE)
    ours = [name for name in {row.model, *names.upstreams} if names.of_ours(name) == row.model]
    records = list(
        of_day.filter(model__in=ours).select_related("tenant").order_by("occurred_at")[: RECORDS_SHOWN + 1]
    )
    table = {
        "headers": [
            "At, UTC",
            "Tenant",
            "Kind",
            "Source",
            "Provider's id",
            "Tokens in / out",
            "Our cost",
            "",
        ],
        "rows": [_record(record) for record in records[:RECORDS_SHOWN]],
    }
    return {
        "drilled": row,
        "records": table if records else None,
        "more_records": len(records) > RECORDS_SHOWN,
    }


def _record(record: UsageRecord) -> list[Any]:
    tokens_in = record.input_tokens + record.cache_read_tokens + record.cache_write_tokens
    return [
        f"{record.occurred_at.astimezone(UTC):%H:%M:%S}",
        str(record.tenant),
        record.kind,
        record.get_usage_source_display(),
        record.upstream_id or "–",
        f"{tokens_in:,} / {record.output_tokens:,}",
        exact_usd(record.provider_cost),
        format_html(
            '<a class="text-primary-600" href="{}">Open</a>',
            reverse("admin:billing_usagerecord_change", args=(record.pk,)),
        ),
    ]


def _show_problems(request: HttpRequest, form: Choice) -> None:
    for problems in form.errors.values():
        for problem in problems:
            messages.error(request, str(problem))
