"""`/v1/chargebacks` and `/v1/split-rules`: what each cost centre bears of the tenant's closed months, and by which rules.

Invariant: what was kept with the statement is handed out, and nothing is divided here. Rules are set by people and by
configuration files, never by a key.
"""

from typing import Any, Final

import orjson
from django.http import HttpRequest, HttpResponse

from billing.months.exports.chargeback_files import read_json, write_csv
from llm.errors import InvalidRequest, NotFound
from llm.views import schemas
from llm.views.base import json_response
from llm.views.documented import OF_A_LOOK_UP, operation, query
from llm.views.months.reports import TAG, OfTheTenant
from tenants.contents import in_thread
from tenants.rls import tenant_connection

SHEETS: Final = """
SELECT p.label AS month, s.code AS statement, c.sha256, c.made_at, CASE WHEN %(month)s <> '' THEN c.content END AS content
FROM billing_chargebacksheet AS c
JOIN billing_statement AS s ON s.id = c.statement_id AND s.tenant_id = c.tenant_id
JOIN billing_billingperiod AS p ON p.id = s.period_id AND p.tenant_id = c.tenant_id
WHERE c.tenant_id = %(tenant)s AND (%(month)s = '' OR p.label = %(month)s)
ORDER BY s.number DESC LIMIT %(most)s
"""
RULES: Final = """
SELECT name, place, source, tag, value, method, shares, first_month, last_month FROM billing_splitrule
WHERE tenant_id = %(tenant)s
  AND (%(month)s = '' OR first_month <= %(month)s AND (last_month = '' OR last_month >= %(month)s))
ORDER BY place, id LIMIT %(most)s
"""
MOST_RULES: Final = 1000
MOST_MONTHS: Final = 120


class Chargebacks(OfTheTenant):
    """`GET /v1/chargebacks`."""

    @operation(
        "listChargebacks",
        "The closed months whose cost was charged back to cost centres, the newest first",
        tag=TAG,
        answers=schemas.ChargebackList,
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        async with tenant_connection(self.principal.tenant_id) as connection:
            rows = await self.read(connection, SHEETS, month="", most=MOST_MONTHS)
        return json_response({"object": "list", "data": [_listed(row) for row in rows]})


class Chargeback(OfTheTenant):
    """`GET /v1/chargebacks/{month}[?cost_center=4711][&format=csv]`."""

    @operation(
        "getChargebacks",
        "What each cost centre bears of a closed month, as it was kept with the statement",
        tag=TAG,
        answers=schemas.ChargebacksObject,
        parameters=(
            query("cost_center", "One of them only."),
            query("format", "`json` by default.", "json", "csv"),
        ),
        errors=(*OF_A_LOOK_UP, 429),
        also={(200, "text/csv"): (str, "With `format=csv`: a row for each thing that a cost centre bears.")},
    )
    async def get(self, request: HttpRequest, month: str) -> HttpResponse:
        wanted = request.GET.get("format", "json")
        if wanted not in ("json", "csv"):
            raise InvalidRequest("'format' must be json or csv.", param="format")
        async with tenant_connection(self.principal.tenant_id) as connection:
            rows = await self.read(connection, SHEETS, month=month.replace("\x00", "") or " ", most=1)
        if not rows:
            raise NotFound(f"There are no chargebacks of {month!r}: they are kept when a month is closed.")
        center = request.GET.get("cost_center")
        return await in_thread(lambda: _answer(rows[0], wanted=wanted, center=center))


class SplitRules(OfTheTenant):
    """`GET /v1/split-rules[?month=2026-11]`."""

    @operation(
        "listSplitRules",
        "The rules by which shared cost is divided among cost centres, in the order in which they take",
        tag=TAG,
        answers=schemas.SplitRuleList,
        parameters=(query("month", "Those in force in a month, such as 2026-11."),),
        errors=(*OF_A_LOOK_UP, 429),
    )
    async def get(self, request: HttpRequest) -> HttpResponse:
        month = request.GET.get("month", "").replace("\x00", "")
        async with tenant_connection(self.principal.tenant_id) as connection:
            rows = await self.read(connection, RULES, month=month, most=MOST_RULES)
        rules = [{"object": "split_rule", **row, "shares": _shares(row["shares"])} for row in rows]
        return json_response({"object": "list", "data": rules})


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    names = ("month", "statement", "sha256", "made_at")
    return {
        "object": "chargeback_month",
        **{name: row[name] for name in names},
        "url": f"/v1/chargebacks/{row['month']}",
    }


def _answer(row: dict[str, Any], *, wanted: str, center: str | None) -> HttpResponse:
    facts = orjson.loads(bytes(row["content"]))
    if center is not None:
        facts["items"] = [item for item in facts["items"] if item["cost_center"] == center]
        if not facts["items"]:
            raise NotFound(f"{row['month']} has nothing of the cost centre {center[:100]!r}.")
    if wanted == "csv":
        return HttpResponse(write_csv(read_json(orjson.dumps(facts))), content_type="text/csv; charset=utf-8")
    return json_response({"object": "chargebacks", **facts})


def _shares(shares: list[list[str]]) -> list[dict[str, Any]]:
    return [{"cost_center": name, "percent": percent or None} for name, percent in shares]
