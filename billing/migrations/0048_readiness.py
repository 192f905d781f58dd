"""The gateway may read which migrations are applied: its readiness is told by that."""

from django.db import migrations

from tenants.rls import GrantApp


class Migration(migrations.Migration):
    dependencies = [("billing", "0047_windows_of_one_day")]

    operations = [GrantApp("django_migrations", "SELECT")]
