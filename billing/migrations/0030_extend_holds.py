"""Holds that grow with their streams."""

from pathlib import Path

from django.db import migrations

from tenants.rls import GrantApp

EXTEND = "billing_extend(uuid[], numeric[], bigint[])"


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_closing")]

    operations = [
        migrations.RunSQL(
            (Path(__file__).parent / "sql" / "extending.sql").read_text(), f"DROP FUNCTION {EXTEND}"
        ),
        migrations.RunSQL(f"REVOKE ALL ON FUNCTION {EXTEND} FROM PUBLIC", migrations.RunSQL.noop),
        GrantApp(EXTEND, "EXECUTE", "FUNCTION"),
    ]
