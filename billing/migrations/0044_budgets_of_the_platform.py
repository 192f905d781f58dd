"""A budget says whether the platform set it or its tenant.

Of those that are there, an owner's are the ones that somebody changed who is no operator.
"""

from django.db import migrations, models


OF_THE_PLATFORM = """
UPDATE billing_budget b SET set_by = 'platform' WHERE NOT EXISTS (
    SELECT FROM billing_historicalbudget h JOIN auth_user u ON u.id = h.history_user_id
    WHERE h.id = b.id AND NOT u.is_superuser);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0043_period_timezones"),
        ("tenants", "0004_paused_tenants"),
    ]

    operations = [
        migrations.AddField(
            model_name="budget",
            name="set_by",
            field=models.CharField(
                choices=[("platform", "the platform"), ("tenant", "the tenant")],
                db_default="tenant",
                default="tenant",
                help_text="the platform's: only operators change or raise it",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="historicalbudget",
            name="set_by",
            field=models.CharField(
                choices=[("platform", "the platform"), ("tenant", "the tenant")],
                db_default="tenant",
                default="tenant",
                help_text="the platform's: only operators change or raise it",
                max_length=8,
            ),
        ),
        migrations.AddConstraint(
            model_name="budget",
            constraint=models.CheckConstraint(
                condition=models.Q(("set_by__in", ("platform", "tenant"))), name="budget_set_by_known"
            ),
        ),
        migrations.RunSQL(OF_THE_PLATFORM, migrations.RunSQL.noop),
    ]
