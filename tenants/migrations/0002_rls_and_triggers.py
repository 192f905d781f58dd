"""The role of the gateway, what it sees of whom, and the triggers that send changes to every worker's snapshot."""

from django.db import migrations

from tenants.rls import CreateAppRole, EnableRLS, GrantApp, NotifyOnChange, ReserveTriggerFunctions


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_tables")]

    operations = [
        CreateAppRole(),
        ReserveTriggerFunctions("purser_notify_config"),
        EnableRLS("tenants_tenant", column="id"),
        EnableRLS("tenants_enduser"),
        EnableRLS("tenants_apikey"),
        EnableRLS("tenants_membership"),
        GrantApp("tenants_tenant", "SELECT"),
        GrantApp("tenants_enduser", "SELECT"),
        GrantApp(
            "tenants_apikey",
            "SELECT (id, tenant_id, name, public_id, models, expires_at, revoked_at, created_at)",
        ),
        # the gateway is ready when the migrations that it knows are applied
        GrantApp("django_migrations", "SELECT"),
        NotifyOnChange("tenants_tenant", tenant_column="id"),
        NotifyOnChange("tenants_enduser"),
        NotifyOnChange("tenants_apikey"),
    ]
