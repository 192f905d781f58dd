"""The audit log, which nobody changes."""


import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS, ReserveTriggerFunctions


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_roles"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="when")),
                (
                    "name",
                    models.CharField(
                        blank=True, default="", help_text="of the person, as it was then", max_length=150
                    ),
                ),
                ("address", models.CharField(blank=True, default="", max_length=45)),
                ("verb", models.CharField(max_length=60)),
                ("object_type", models.CharField(blank=True, default="", max_length=60)),
                ("object_id", models.CharField(blank=True, default="", max_length=64)),
                ("object_name", models.CharField(blank=True, default="", max_length=200)),
                (
                    "changes",
                    models.JSONField(default=dict, help_text="of each field, the value before and after"),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=200)),
                (
                    "person",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ("-pk",),
                "indexes": [
                    models.Index(fields=["tenant", "-id"], name="audit_tenant"),
                    models.Index(fields=["person", "-id"], name="audit_person"),
                    models.Index(fields=["object_type", "object_id", "-id"], name="audit_object"),
                    models.Index(fields=["at"], name="audit_at"),
                ],
            },
        ),
        EnableRLS("tenants_auditentry"),
        ReserveTriggerFunctions("tenants_keep_audit"),
        migrations.RunSQL(
            """
            CREATE TRIGGER keep_rows BEFORE UPDATE OR DELETE ON tenants_auditentry
                FOR EACH ROW EXECUTE FUNCTION tenants_keep_audit();
            CREATE TRIGGER keep_table BEFORE TRUNCATE ON tenants_auditentry
                FOR EACH STATEMENT EXECUTE FUNCTION tenants_keep_audit();
            """,
            "DROP TRIGGER keep_rows ON tenants_auditentry; DROP TRIGGER keep_table ON tenants_auditentry;",
        ),
    ]
