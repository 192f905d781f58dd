"""The panel of a month's files: those of its statement, those that were asked for, and how far the others are.

Invariant: a request makes no file: it asks for a job and shows it. A person gets the files of tenants that they may see; those of
all tenants, which have our margin, only who may close everywhere.
"""

from decimal import Decimal
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from billing.models import BillingPeriod, MonthFile, MonthJob, StatementFile
from billing.months.exports import ASKED, FORMATS, focus
from billing.months.jobs.asking import OPEN, TooManyJobs, UnknownFormat, ask_report, jobs_of
from billing.months.jobs.working import PLATFORM
from billing.months.report import InvalidMonth
from billing.months.sending import sent_content
from config.site.cells import NOTHING, moment, progress
from tenants.admin.access import may_everywhere, tenants_of
from tenants.models import Tenant
from tenants.people.rights import Right

JOBS_SHOWN: Final = 12
PACK: Final = ("csv", "xlsx", "pdf", "json", "parquet", "focus")
ALL_TENANTS: Final = "*"


def choices() -> list[dict[str, str]]:
    """What can be asked for: the whole pack, each format, each version of FOCUS."""
    versions = [{"name": f"focus-{profile}", "label": f"FOCUS {profile}, CSV"} for profile in focus.PROFILES]
    parquet = [
        {"name": f"focus-parquet-{profile}", "label": f"FOCUS {profile}, Parquet"}
        for profile in focus.PROFILES
    ]
    others = [
        {"name": name, "label": kind.label} for name, kind in FORMATS.items() if not name.startswith("focus")
    ]
    return [{"name": "pack", "label": "The pack"}, *others, *versions, *parquet]


def asked(request: HttpRequest, tenant: Tenant | None, month: str) -> HttpResponse:
    """Ask for files, and lead back to the page."""
    wanted = request.POST.get("format", "")
    if wanted != "pack" and wanted not in ASKED:
        raise Http404(f"no format is called {wanted!r}")
    formats = PACK if wanted == "pack" else (wanted,)
    try:
        ask_report(tenant, month=month, formats=formats, acting_user=request.user)
    except (InvalidMonth, UnknownFormat) as error:
        raise Http404(str(error)) from error
    except TooManyJobs as error:
        messages.error(request, str(error))
    slug = tenant.slug if tenant else ALL_TENANTS
    return redirect(f"{reverse('admin:billing_reports')}?tenant={slug}&month={month}")


def page_of_month(period: BillingPeriod) -> str:
    """The address of a month's report."""
    return f"{reverse('admin:billing_reports')}?tenant={period.tenant.slug}&month={period.label}"


def panel(request: HttpRequest, tenant: Tenant | None, month: str) -> dict[str, Any]:
    """What the panel shows of a month."""
    jobs = list(jobs_of(tenant, month=month).prefetch_related("files")[:JOBS_SHOWN])
    sealed = StatementFile.objects.filter(statement__tenant=tenant, statement__period__label=month)
    files = sealed.defer("content").order_by("format") if tenant else StatementFile.objects.none()
    rows = [
        [
            "Files of the statement",
            "",
            NOTHING,
            _links((reverse("admin:billing_statement_file", args=(one.pk,)), one) for one in files),
        ]
    ]
    zone = tenant.timezone if tenant else "UTC"
    rows = (rows if files else []) + [
        [job.get_kind_display(), _state(job), moment(job.created_at, zone=zone), _result(job)] for job in jobs
    ]
    return {
        "is_open": any(job.state in OPEN for job in jobs),
        "table": {
            "headers": ["What", "State", "Asked for", "Files"],
            "rows": rows,
            "empty": "None yet: choose a format above. The files are made in the background.",
        },
    }


def month_file(request: HttpRequest, model_admin: Any, file_id: int) -> HttpResponseBase:
    """Send a file of a report."""
    file = MonthFile.objects.filter(pk=file_id).first()
    if file is None:
        raise Http404
    if file.tenant_id is None:
        require_everywhere(request)
    elif not tenants_of(request).filter(pk=file.tenant_id).exists():
        raise Http404
    return sent_content(
        file.tenant_id or PLATFORM,
        file.location,
        name=file.name,
        content_type=file.content_type,
        size=file.size_bytes,
    )


def require_everywhere(request: HttpRequest) -> None:
    """Raise PermissionDenied for who may not see the months of all tenants together."""
    if not may_everywhere(request, Right.CLOSE):
        raise PermissionDenied


def _state(job: MonthJob) -> Any:
    if job.state == MonthJob.State.FAILED:
        return f"failed: {job.error}"
    if job.state != MonthJob.State.RUNNING:
        return job.state
    share = Decimal(100 * job.done) / job.total if job.total else Decimal(0)
    return format_html("{} {}", progress(share, label="written", is_limit=False), job.step)


def _result(job: MonthJob) -> Any:
    return _links((reverse("admin:billing_month_file", args=(file.pk,)), file) for file in job.files.all())


def _links(files: Any) -> Any:
    links = (
        (url, file.name, filesizeformat(file.size_bytes) if file.size_bytes is not None else "")
        for url, file in files
    )
    text = format_html_join(" · ", '<a href="{}" class="text-link">{}</a> {}', links)
    return text or NOTHING
