"""Applying budgets, rate rules, alert channels and alert rules.

Invariant: a budget is known by what it limits (scope, value, unit, period), a channel by its name, so a new
limit or address changes the row that is there. What the file does not name stays as it is.
"""

from decimal import Decimal
from typing import Any

from django.utils.timezone import now

from billing.models import AlertChannel, AlertRule, Budget
from billing.prices.plan_editing import WHAT, rule_at, set_rule
from llm.configuration.agreements import RateRuleSpec
from llm.configuration.changes import FieldChange, shown
from llm.configuration.days import first_moment, last_moment
from llm.configuration.document import Path
from llm.configuration.spec import AlertSpec, BudgetSpec, ChannelSpec
from llm.configuration.writer import Writer
from tenants.models import Tenant

WORDS = {"valid_to": "valid_until"}  # the file's words for a model's


def apply_budget(spec: BudgetSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Create or update a budget; its windows go on counting."""
    what = {"scope": spec.scope, "value": spec.value, "unit": spec.unit, "period": spec.period}
    row = Budget.objects.filter(tenant=tenant, **what).order_by("-is_active", "-pk").first()
    row = row or Budget(tenant=tenant, **what)
    values: dict[str, Any] = {
        "limit_amount": spec.limit,
        "mode": spec.mode,
        "alert_at": [_number(share) for share in spec.alert_at],
        "shards": spec.shards,
        "set_by": spec.set_by,
        "is_active": spec.active,
    }
    of = f"{spec.scope} {spec.value}".strip()
    writer.write(
        row,
        values,
        written=spec.written() | {"active", "set_by"},  # a budget in the file is active, and is its
        kind="budget",
        name=f"{tenant.slug}/{of} {spec.unit} per {spec.period}",
        path=path,
        words={"limit_amount": "limit", "is_active": "active"},
    )


def apply_rate_rule(spec: RateRuleSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Have a rule count at its priority from its beginning (now) on, in place of another one that is there."""
    name = f"{tenant.slug}/{spec.priority}"
    times = {
        "valid_from": first_moment(spec.valid_from, tenant=tenant),
        "valid_to": last_moment(spec.valid_until, tenant=tenant),
    }
    values = {field: getattr(spec, field) for field in WHAT}
    current = rule_at(tenant, priority=spec.priority, at=times["valid_from"] or now())
    begins = {} if times["valid_from"] is None else {"valid_from": times["valid_from"]}
    wanted = {**values, **begins, "valid_to": times["valid_to"]}
    changed = tuple(
        FieldChange(WORDS.get(field, field), shown(getattr(current, field, None)), shown(value))
        for field, value in wanted.items()
        if current is not None and getattr(current, field) != value
    )
    # the same rule that began earlier is this rule
    if current is not None and {change.name for change in changed} <= {"valid_from"}:
        writer.changes.add("rate rule", name, "unchanged")
        return
    with writer.agreements("rate rule", name) as waiting, writer.refusals(path, words=WORDS):
        set_rule(
            tenant,
            priority=spec.priority,
            acting_user=writer.acting_user,
            valid_from=times["valid_from"],
            valid_to=times["valid_to"],
            **values,
        )
    if not waiting:
        writer.changes.add("rate rule", name, "created" if current is None else "updated", changed)


def apply_channel(spec: ChannelSpec, *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Create or update an alert channel."""
    row = AlertChannel.objects.filter(tenant=tenant, name=spec.name).first()
    row = row or AlertChannel(tenant=tenant, name=spec.name)
    target = "to" if spec.kind == "email" else "url"
    values = {"kind": spec.kind, "target": spec.target, "secret": spec.secret, "is_active": spec.active}
    writer.write(
        row,
        values,
        written=spec.written(),
        kind="channel",
        name=f"{tenant.slug}/{spec.name}",
        path=path,
        words={"target": target, "is_active": "active"},
        secrets=("secret",),
    )


def apply_alerts(specs: list[AlertSpec], *, tenant: Tenant, path: Path, writer: Writer) -> None:
    """Create or update a tenant's alert rules.

    A rule has no name. One of the same metric and threshold is the same rule; of the rest, the file's and
    the stored ones of a metric are paired by rising threshold, so that an edited threshold changes the rule.
    """
    stored = list(AlertRule.objects.filter(tenant=tenant).order_by("threshold"))
    paired: dict[int, AlertRule] = {}
    for index, spec in enumerate(specs):
        for rule in stored:
            if (rule.metric, rule.threshold) == (spec.metric, spec.threshold):
                paired[index] = rule
                stored.remove(rule)
                break
    for index in sorted(set(range(len(specs))) - set(paired), key=lambda index: specs[index].threshold):
        same_metric = [rule for rule in stored if rule.metric == specs[index].metric]
        if same_metric:
            paired[index] = same_metric[0]
            stored.remove(same_metric[0])
    for index, spec in enumerate(specs):
        rule = paired.get(index) or AlertRule(tenant=tenant, metric=spec.metric)
        _apply_alert(spec, rule=rule, tenant=tenant, path=(*path, index), writer=writer)


def _apply_alert(spec: AlertSpec, *, rule: AlertRule, tenant: Tenant, path: Path, writer: Writer) -> None:
    channels = {channel.name: channel for channel in AlertChannel.objects.filter(tenant=tenant)}
    for position, name in enumerate(spec.channels):
        if name not in channels:
            raise writer.document.error(
                (*path, "channels", position), f"tenant {tenant.slug} has no channel {name!r}"
            )
    is_new = rule.pk is None
    name = f"{tenant.slug}/{spec.metric} from {shown(spec.threshold)}"
    writer.write(
        rule,
        {"threshold": spec.threshold, "is_active": spec.active},
        written=spec.written(),
        kind="alert",
        name=name,
        path=path,
        words={"is_active": "active"},
    )
    former = sorted(rule.channels.values_list("name", flat=True))
    if former != sorted(spec.channels) and (is_new or "channels" in spec.written()):
        rule.channels.set([channels[channel] for channel in spec.channels])
        if not is_new:
            change = FieldChange(
                "channels", shown(", ".join(former)), shown(", ".join(sorted(spec.channels)))
            )
            writer.changes.add("channels of alert", name, "updated", (change,))


def _number(share: int | Decimal) -> int | float:
    return int(share) if share == int(share) else float(share)
