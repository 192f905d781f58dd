"""The limit of a budget at a moment, as a view: where it is read it becomes a part of the query."""

from django.db import migrations

# Its own limit, and the raises that count now. Read where it is needed, never copied.
LIMIT_NOW = """
CREATE VIEW billing_limit_now AS
SELECT b.id AS budget_id, b.limit_amount + coalesce((
    SELECT sum(r.extra_amount) FROM billing_budgetraise r
    WHERE r.budget_id = b.id AND r.starts_at <= now() AND r.ends_at > now()), 0) AS amount
FROM billing_budget b
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_statement_requests")]

    operations = [migrations.RunSQL(LIMIT_NOW, "DROP VIEW billing_limit_now")]
