"""Whose the items, files and containers are that a provider keeps, and whose own an account is."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):
    dependencies = [("llm", "0012_undeclared_maxima"), ("tenants", "0001_initial")]

    operations = [
        *[
            migrations.AddField(
                model_name=name,
                name="tenant",
                field=field,
            )
            for name, field in (
                (
                    "provider",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        help_text="The one tenant whose account it is; empty: all tenants share it.",
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "historicalprovider",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        db_constraint=False,
                        help_text="The one tenant whose account it is; empty: all tenants share it.",
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            )
        ],
        migrations.CreateModel(
            name="KeptItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("item_id", models.CharField(max_length=200)),
                ("provider", models.CharField(help_text="the account that keeps it", max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["created_at"], name="keptitem_age")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "item_id"), name="keptitem_once")
                ],
            },
        ),
        EnableRLS("llm_keptitem"),
        GrantApp("llm_keptitem", "SELECT, INSERT"),
        GrantApp("llm_keptitem_id_seq", "USAGE", "SEQUENCE"),
    ]
