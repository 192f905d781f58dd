"""Answers kept for a client's idempotency key."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):
    dependencies = [
        ("llm", "0004_batch_line_count"),
        ("tenants", "0001_initial"),
        ("billing", "0002_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="IdempotentCall",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key_id", models.BigIntegerField(help_text="the API key that asked")),
                ("endpoint", models.CharField(max_length=64)),
                ("key", models.CharField(help_text="the header's value", max_length=255)),
                ("digest", models.BinaryField(help_text="SHA-256 of the end user and the body, its fields in order")),
                (
                    "request_id",
                    models.UUIDField(help_text="whose work this is: attempts and ledger rows have it too"),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("in_progress", "in progress"), ("done", "done")],
                        default="in_progress",
                        max_length=11,
                    ),
                ),
                (
                    "leased_until",
                    models.DateTimeField(help_text="while in progress: its worker lives until then at least"),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("is_stream", models.BooleanField(default=False)),
                ("headers", models.JSONField(default=dict)),
                (
                    "content",
                    models.BinaryField(help_text="the answer's bytes, a stream's as it was told", null=True),
                ),
                (
                    "error",
                    models.JSONField(help_text="of a call that cost something and has no answer", null=True),
                ),
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
                "ordering": ["-created_at"],
                "indexes": [models.Index(fields=["created_at"], name="idempotentcall_age")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "key_id", "endpoint", "key"), name="idempotentcall_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("state", "done"), _negated=True),
                            models.Q(("content", None), ("error", None), _negated=True),
                            _connector="OR",
                        ),
                        name="idempotentcall_done_has_outcome",
                    ),
                ],
            },
        ),
        EnableRLS("llm_idempotentcall"),
        GrantApp("llm_idempotentcall", "SELECT, INSERT, UPDATE, DELETE"),
    ]
