"""The state of windows as it is now, as a view: where it is read it becomes a part of the query."""

from django.db import migrations

# spent and held are of the whole window, whichever of its shards is asked. room is what the row itself may take, and what
# admission goes by: for a shard it is what its allowance leaves, and none (-1) when the allowance is of another limit than
# the one that counts now, or when another shard has passed its own, because a call cost more than its hold. Who holds the
# locks of all shards has the room of all. alerts_from is the spent amount from which people are to be notified.
WINDOW_NOW = """
CREATE VIEW billing_window_now AS
SELECT w.id, w.budget_id, w.tenant_id, w.subject, w.ends_at, b.scope, b.unit, b.period, b.mode, l.amount AS limit_amount,
       CASE WHEN w.allowance IS NULL THEN w.spent ELSE s.spent END AS spent,
       CASE WHEN w.allowance IS NULL THEN w.held ELSE s.held END AS held,
       CASE WHEN w.allowance IS NULL THEN l.amount - w.spent - w.held
            WHEN w.allowance_of = l.amount AND s.are_within THEN w.allowance - w.spent - w.held
            ELSE -1 END AS room,
       CASE WHEN w.allowance IS NULL THEN l.amount - w.spent - w.held
            ELSE l.amount - s.spent - s.held END AS room_of_all,
       b.mode = 'hard' AND b.is_active AS is_hard,
       w.allowance IS NOT NULL AS is_shard,
       l.amount * 0.01 * least(
           (SELECT min(percent::numeric) FROM jsonb_array_elements_text(b.alert_at) AS percent),
           (SELECT min(r.threshold) FROM billing_alertrule r
            WHERE r.tenant_id = w.tenant_id AND r.metric = 'budget_percent' AND r.is_active)) AS alerts_from
FROM billing_budgetwindow w
JOIN billing_budget b ON b.id = w.budget_id
JOIN billing_limit_now l ON l.budget_id = b.id
LEFT JOIN LATERAL (
    SELECT sum(o.spent) AS spent, sum(o.held) AS held, bool_and(o.spent + o.held <= o.allowance) AS are_within
    FROM billing_budgetwindow o
    WHERE w.allowance IS NOT NULL
      AND o.budget_id = w.budget_id AND o.subject = w.subject AND o.starts_at = w.starts_at) s ON true
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_batch_alerts")]

    operations = [migrations.RunSQL(WINDOW_NOW, "DROP VIEW billing_window_now")]
