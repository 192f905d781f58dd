"""The page of a closed month's certificate: what is explained of the providers' bills, who closed it, and the digests.

Invariant: shows what was certified, and calculates nothing. The amounts of the bills are shown to those who may close everywhere.
"""

import json
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from billing.admin.figures import count
from billing.models import Certificate, CertificateAnnex, Statement
from billing.months.certificates.claims import LABELS
from billing.months.certificates.wording import closed_rows, headline, percent
from billing.months.exports.certificate_files import FORMATS
from config.site.cells import NOTHING
from tenants.admin.access import may_everywhere
from tenants.people.rights import Right


def certificate_page(request: HttpRequest, model_admin: Any, statement_id: int) -> HttpResponse:
    """Show the certificate of a statement."""
    statement = _statement(request, model_admin, statement_id)
    certificate = Certificate.objects.filter(statement=statement).first()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Certificate {statement.code}",
        "statement": statement,
    }
    if certificate is not None:
        body = json.loads(certificate.text)
        context |= _shown(body, statement) | {"files": _files(statement)}
        if may_everywhere(request, Right.CLOSE):
            context |= {"annex": _annex(statement)}
    return TemplateResponse(request, "admin/certificate.html", context)


def annex_file(request: HttpRequest, model_admin: Any, statement_id: int) -> HttpResponse:
    """Send the annex, word for word."""
    statement = _statement(request, model_admin, statement_id)
    if not may_everywhere(request, Right.CLOSE):
        raise PermissionDenied
    annex = CertificateAnnex.objects.filter(statement=statement).first()
    if annex is None:
        raise Http404
    response = HttpResponse(annex.text.encode(), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{statement.code}.annex.json"'
    response["Cache-Control"] = "no-store"
    return response


def _statement(request: HttpRequest, model_admin: Any, statement_id: int) -> Statement:
    statement: Statement | None = model_admin.get_object(request, str(statement_id))
    if statement is None:
        raise Http404
    return statement


def _files(statement: Statement) -> list[dict[str, str]]:
    """The certificate's own files, and the file that it is checked against."""
    files = statement.files.filter(format__in=FORMATS).defer("content").order_by("format")
    return [
        *(
            {"name": one.name, "url": reverse("admin:billing_statement_file", args=(one.pk,))}
            for one in files
        ),
        {
            "name": f"{statement.code}.json",
            "url": reverse("admin:billing_statement_facts", args=(statement.pk,)),
        },
    ]


def _shown(body: dict[str, Any], statement: Statement) -> dict[str, Any]:
    claims = body["claims"]
    return {
        "headline": headline(claims),
        "is_made": claims["is_made"],
        "groups": {
            "headers": ["How the provider's report confirms it", "Rows", "Billed, USD", "Share"],
            "rows": [
                [LABELS[one["group"]], one["rows"], Decimal(one["billed_usd"]), percent(one["share"])]
                for one in claims["calls"]["groups"]
            ],
            "empty": "No call of the month went to a provider.",
        },
        "others": {
            "headers": ["What", "Rows", "Billed, USD"],
            "rows": [
                [one["what"].capitalize(), one["rows"], Decimal(one["billed_usd"])]
                for one in claims["others"]
            ],
        },
        "accounts": {
            "headers": ["Account", "Days reported", "What of its bill", "Share"],
            "rows": [
                [
                    one["account"],
                    f"{one['days_reported']} of {one['days']}",
                    LABELS[share["group"]],
                    percent(share["share"]),
                ]
                for one in claims["accounts"]
                for share in one["shares"] or [{"group": "not_reported", "share": ""}]
            ],
        },
        "closed": closed_rows(body["closed"]),
        "digests": [
            ("This certificate", statement.certificate),
            (f"Statement {statement.code}", statement.digest),
            ("Statement before it", statement.previous_digest or NOTHING),
            ("Annex with the amounts of the bills", body["annex_sha256"]),
        ],
    }


def _annex(statement: Statement) -> dict[str, Any]:
    """The amounts of the providers' bills."""
    annex = json.loads(CertificateAnnex.objects.get(statement=statement).text)
    return {
        "headers": ["Account", "What", "Why", "Comparisons", "Their bill, USD", "More than ours, USD"],
        "rows": [
            [
                account["account"],
                LABELS[group["group"]],
                ", ".join(f"{one['cause']} ({count(one['comparisons'])})" for one in group["causes"])
                or NOTHING,
                group["comparisons"],
                Decimal(group["billed_usd"]),
                Decimal(group["difference_usd"]),
            ]
            for account in annex["accounts"]
            for group in account["groups"]
        ],
        "empty": "No report of a provider was there when the month was closed.",
    }
