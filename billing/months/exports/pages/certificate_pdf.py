"""A certificate as a PDF of a page or two.

Invariant: pure and bounded: it prints what the certificate says, by name, and calculates nothing. The same certificate makes the
same bytes.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from billing.months.certificates.claims import LABELS
from billing.months.certificates.wording import closed_rows, headline, percent
from billing.months.exports.pages.pdf import column, short

TEMPLATE: Final = Path(__file__).with_name("certificate.typ")
ACCOUNTS_SHOWN: Final = 40
REPORTS_SHOWN: Final = 40


def write_certificate(body: Mapping[str, Any], file: Mapping[str, Any], out: BinaryIO) -> None:
    """Write the pages, A4, tagged for screen readers; `file` names the statement and its digests."""
    import typst  # noqa: PLC0415 large: only who writes such a file loads it

    pages: bytes = typst.compile(  # type: ignore[type-var] # its types want the same of input and fonts
        TEMPLATE.read_bytes(),
        root=str(TEMPLATE.parent),
        sys_inputs={"data": orjson.dumps(_document(body, file)).decode()},
        timestamp=body["issued_at"] // 1_000_000,
    )
    out.write(pages)


def _document(body: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, Any]:
    claims = body["claims"]
    groups, others = claims["calls"]["groups"], claims["others"]
    amounts = column([Decimal(one["billed_usd"]) for one in (*groups, *others)])
    accounts: Sequence[Mapping[str, Any]] = claims["accounts"]
    reports = [(one["account"], report) for one in accounts for report in one["reports"]]
    return {
        "title": f"Certificate {body['statement']}",
        "tenant": short(body["tenant_name"]),
        "issuer": short(body["issuer"]),
        "is_made": claims["is_made"],
        "headline": headline(claims),
        "facts": [
            ("Month", f"{body['month']}, {body['timezone']}"),
            ("Statement", body["statement"]),
            ("Total", f"{body['total']} {body['currency']}"),
            ("Exactly", f"{body['exact_usd']} USD"),
            ("Rows", f"{body['rows']:,}"),
            ("Requests", f"{body['requests']:,}"),
        ],
        "groups": [
            (LABELS[one["group"]], f"{one['rows']:,}", amount, percent(one["share"]))
            for one, amount in zip(groups, amounts, strict=False)
        ],
        "others": [
            (short(one["what"]).capitalize(), f"{one['rows']:,}", amount)
            for one, amount in zip(others, amounts[len(groups) :], strict=True)
        ],
        "accounts": [
            {
                "name": short(one["account"]),
                "days": f"{one['days_reported']} of {one['days']} days reported",
                "rows": [(LABELS[each["group"]], percent(each["share"])) for each in one["shares"]],
            }
            for one in accounts[:ACCOUNTS_SHOWN]
        ],
        "closed": [(name, short(text)) for name, text in closed_rows(body["closed"])],
        "reports": [
            (short(name), f"{report['first_day']} to {report['last_day']}", report["sha256"])
            for name, report in reports[:REPORTS_SHOWN]
        ],
        "digests": [
            ("Statement", file["statement_digest"]),
            ("Statement before it", file["previous_digest"] or "none: it is the first"),
            ("Annex with the amounts of the bills", body["annex_sha256"]),
        ],
        "more": _more(accounts, reports),
    }


def _more(accounts: Sequence[Any], reports: Sequence[Any]) -> str:
    hidden = max(0, len(accounts) - ACCOUNTS_SHOWN) + max(0, len(reports) - REPORTS_SHOWN)
    return f"{hidden:,} further accounts and reports are in the file." if hidden else ""
