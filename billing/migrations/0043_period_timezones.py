"""A period keeps its time zone, and begins where the one before it ended.

What is there gets the zone of its statement, or the zone of the tenant, now or formerly, in which its last day ends with
it. A period that began late after a change of zone begins earlier now, unless it is closed.
"""

from django.db import migrations, models

from billing import functions

TIMEZONES = """
ALTER TABLE billing_billingperiod DISABLE TRIGGER period_law;
UPDATE billing_billingperiod p SET timezone = coalesce(
    (SELECT s.timezone FROM billing_statement s WHERE s.period_id = p.id),
    (SELECT z.timezone FROM (
         SELECT t.timezone, 0 AS age FROM tenants_tenant t WHERE t.id = p.tenant_id
         UNION ALL
         SELECT h.timezone, row_number() OVER (ORDER BY h.history_date DESC) FROM tenants_historicaltenant h
         WHERE h.id = p.tenant_id) z
     WHERE date_trunc('month', p.ends_at AT TIME ZONE z.timezone) = p.ends_at AT TIME ZONE z.timezone
     ORDER BY z.age LIMIT 1),
    (SELECT t.timezone FROM tenants_tenant t WHERE t.id = p.tenant_id));
ALTER TABLE billing_billingperiod ENABLE TRIGGER period_law;
"""

GAPS = """
SELECT billing_period_at(former.tenant_id, former.ends_at)
FROM billing_billingperiod former
CROSS JOIN LATERAL (
    SELECT p.label, p.starts_at FROM billing_billingperiod p
    WHERE p.tenant_id = former.tenant_id AND p.starts_at >= former.ends_at ORDER BY p.starts_at LIMIT 1) later
WHERE later.starts_at > former.ends_at
  AND later.label = to_char(to_date(former.label, 'YYYY-MM') + interval '1 month', 'YYYY-MM');
"""

ZONE_LAW = """
CREATE TRIGGER zone_law BEFORE INSERT OR UPDATE OF timezone ON tenants_tenant
    FOR EACH ROW EXECUTE FUNCTION billing_zone_law();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0042_functions"), ("tenants", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="billingperiod",
            name="timezone",
            field=models.CharField(default="UTC", max_length=63),
        ),
        migrations.RunSQL(TIMEZONES, migrations.RunSQL.noop),
        *functions.define(),
        migrations.RunSQL(ZONE_LAW, "DROP TRIGGER zone_law ON tenants_tenant"),
        migrations.RunSQL(GAPS, migrations.RunSQL.noop),
    ]
