"""Whom statements are addressed to, and on which terms they were issued."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

import billing.models.fields
from tenants.rls import EnableRLS

DETAILS = [
    ("legal_name", models.CharField(blank=True, default="", max_length=200)),
    (
        "address",
        models.TextField(
            blank=True, default="", help_text="as on an envelope, without the name", max_length=500
        ),
    ),
    ("vat_id", models.CharField(blank=True, default="", max_length=30, verbose_name="VAT ID")),
    (
        "email",
        models.EmailField(
            blank=True, default="", help_text="gets the statement of each closed month", max_length=254
        ),
    ),
    (
        "po_number",
        models.CharField(
            blank=True,
            default="",
            help_text="the tenant's own, printed on each statement",
            max_length=60,
            verbose_name="order number",
        ),
    ),
    (
        "tax",
        models.CharField(
            choices=[
                ("none", "no tax on statements"),
                ("vat", "VAT"),
                ("reverse_charge", "reverse charge"),
                ("exempt", "exempt from VAT"),
            ],
            default="none",
            max_length=14,
        ),
    ),
    (
        "vat_percent",
        models.DecimalField(
            decimal_places=2,
            default=0,
            max_digits=5,
            validators=[
                django.core.validators.MinValueValidator(0),
                django.core.validators.MaxValueValidator(100),
            ],
            verbose_name="VAT, percent",
        ),
    ),
    (
        "payment_days",
        models.PositiveSmallIntegerField(
            default=30,
            help_text="from the day of issue",
            validators=[django.core.validators.MaxValueValidator(365)],
        ),
    ),
]


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0013_statement_issuer"),
        ("tenants", "0002_rls_and_triggers"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            "statement",
            "tax",
            billing.models.fields.AmountField(
                default=0, help_text="on the total, in the statement's currency"
            ),
        ),
        migrations.AddField(
            "statement",
            "terms",
            models.JSONField(
                blank=True, default=dict, help_text="who asks whom, with which tax, until when; as issued"
            ),
        ),
        migrations.CreateModel(
            name="HistoricalBillingDetails",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID")),
                *DETAILS,
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical billing details",
                "verbose_name_plural": "historical billing details",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="BillingDetails",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                *DETAILS,
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="billing_details",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "billing details",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("tax", "vat"), ("vat_percent__gt", 0)),
                            models.Q(models.Q(("tax", "vat"), _negated=True), ("vat_percent", 0)),
                            _connector="OR",
                        ),
                        name="billing_details_rate_with_vat",
                    )
                ],
            },
        ),
        EnableRLS("billing_billingdetails"),
    ]
