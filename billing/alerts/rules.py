"""Which threshold counts for a tenant and metric: its active rules, or the metric's default where it has no rule of it.

Invariant: a rule that is not active switches the default off.
"""

from typing import Any, Final

from billing.alerts.metrics import facts_of

# A FROM item: tenant_id, slug, timezone, rule_id and threshold of each rule that counts.
RULES: Final = """(
    SELECT t.id AS tenant_id, t.slug, t.timezone, r.id AS rule_id, coalesce(r.threshold, %(default)s::numeric) AS threshold
    FROM tenants_tenant t
    LEFT JOIN billing_alertrule r ON r.tenant_id = t.id AND r.metric = %(metric)s AND r.is_active
    WHERE r.id IS NOT NULL OR %(default)s::numeric IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing_alertrule o WHERE o.tenant_id = t.id AND o.metric = %(metric)s))"""


def parameters(metric: str) -> dict[str, Any]:
    """What RULES asks for."""
    return {"metric": metric, "default": facts_of(metric).default}
