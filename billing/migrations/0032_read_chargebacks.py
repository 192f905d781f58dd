"""The gateway reads chargebacks and split rules."""

from django.db import migrations

from tenants.rls import GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0031_report_schedules'),
    ]

    operations = [
        GrantApp("billing_splitrule", "SELECT"),
        GrantApp("billing_chargebacksheet", "SELECT"),
    ]
