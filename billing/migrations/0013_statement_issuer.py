"""Statements are numbered by issuer, and say how sure their sums are. Those that are there keep their numbers."""

import billing.models.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_usage_days")]

    operations = [
        migrations.AddField(
            "statement", "issuer",
            models.CharField(blank=True, default="", help_text="who asks for the money", max_length=200),
        ),
        migrations.AddField(
            "statement", "serial",
            models.BigIntegerField(
                blank=True, help_text="counts the issuer's statements of all tenants, without a gap", null=True),
        ),
        migrations.AddField(
            "statement", "certainty",
            models.JSONField(
                blank=True, default=dict,
                help_text="how sure the sum was by then: exact, estimated, unread, with bounds"),
        ),
        migrations.AddField(
            "statementline", "certainty",
            models.CharField(blank=True, default="", help_text="exact, estimated or unread", max_length=9),
        ),
        migrations.AlterField(
            "statementline", "amount",
            billing.models.fields.AmountField(help_text="in the statement's currency, four places finer than that"),
        ),
        migrations.AddConstraint(
            "statement", models.UniqueConstraint(fields=("issuer", "serial"), name="statement_serial_unique")
        ),
        migrations.AddConstraint(
            "statement",
            models.UniqueConstraint(
                condition=models.Q(("serial__isnull", False)), fields=("issuer", "code"), name="statement_code_unique"),
        ),
    ]
