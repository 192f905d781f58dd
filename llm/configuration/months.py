"""Applying what becomes of months: split rules, and deliveries of reports.

Invariant: a split rule is known by its name and first month, and never edited; a delivery is known by its name.
"""

from typing import Any, Final

from billing.deliveries.schedules import save_schedule
from billing.models import ReportSchedule, SplitRule
from billing.months.split_rules import checked_shares, end_split, set_split
from llm.configuration.changes import Action, FieldChange, shown
from llm.configuration.document import Path
from llm.configuration.reports import DeliverySpec, SplitRuleSpec
from llm.configuration.writer import Writer
from tenants.models import Tenant

SECRETS: Final = ("access_key", "secret_key")


def apply_split_rule(spec: SplitRuleSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Set a rule, or its last month."""
    name = f"{tenant.slug}/{spec.identity()}"
    facts = {one: getattr(spec, one) for one in ("place", "source", "tag", "value", "method")}
    stored = SplitRule.objects.filter(tenant=tenant, name=spec.name, first_month=spec.first_month).first()
    with writer.refusals(path):
        facts["shares"] = checked_shares(spec.as_stored(), method=spec.method)
        if stored is None:
            set_split(
                tenant, acting_user=writer.acting_user, name=spec.name, first_month=spec.first_month,
                last_month=spec.last_month, **facts,
            )  # fmt: skip
    if stored is None:
        writer.changes.add("split rule", name, "created")
        return
    if changed := [one for one, value in facts.items() if getattr(stored, one) != value]:
        raise writer.document.error(
            (*path, changed[0]), "a rule is never edited: give it a last_month, and set another one"
        )
    if stored.last_month == spec.last_month or "last_month" not in spec.written():
        writer.changes.add("split rule", name, "unchanged")
        return
    ends = FieldChange("last_month", stored.last_month, spec.last_month)
    with writer.refusals(path):
        end_split(stored, last_month=spec.last_month, acting_user=writer.acting_user)
    writer.changes.add("split rule", name, "updated", (ends,))


def apply_delivery(spec: DeliverySpec, *, tenant: Tenant | None, path: Path, writer: Writer) -> None:
    """Create or update a schedule of reports; without a tenant, of all of them together."""
    row = ReportSchedule.objects.filter(tenant=tenant, name=spec.name).first()
    is_new = row is None
    row = row or ReportSchedule(tenant=tenant, name=spec.name)
    words = {"is_active": "active", "kind": "", "target": spec.kind if spec.kind != "s3" else "bucket"}
    wanted: dict[str, Any] = {
        **{one: getattr(spec, one) for one in ("what", "formats", "when", "day", "hour", "kind", "target")},
        **{one: getattr(spec, one) for one in ("endpoint", "region", *SECRETS)},
        "is_active": spec.active,
    }
    written = spec.written() | {"", "email", "bucket", "folder"}
    fields = []
    for field, value in wanted.items():
        if is_new or (words.get(field, field) in written and getattr(row, field) != value):
            old, new = ("", "") if field in SECRETS else (shown(getattr(row, field)), shown(value))
            fields.append(FieldChange(words.get(field) or field, old, new))
            setattr(row, field, value)
    if fields:
        with writer.refusals(path, words=words):
            save_schedule(row, acting_user=writer.acting_user)
    name = f"{tenant.slug if tenant else 'all tenants'}/{spec.name}"
    action: Action = "created" if is_new else "updated" if fields else "unchanged"
    writer.changes.add("delivery", name, action, () if is_new else tuple(fields))
