"""The walls between tenants, and how the semantic cache's tables are stored."""

from django.db import migrations

from tenants.rls import EnableRLS, GrantApp

TABLES = (
    "caching_entry",
    "caching_label",
    "caching_scope",
    "caching_stat",
    "caching_scopeday",
    "caching_thresholdpoint",
)

# Django knows one-column keys only; the database's key begins with the tenant, as a partitioned or distributed
# table will need it. `id` stays unique in practice: nothing but the identity writes it.
TENANT_FIRST_KEYS = [
    (
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD CONSTRAINT {table}_pkey PRIMARY KEY (tenant_id, id)",
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD CONSTRAINT {table}_pkey PRIMARY KEY (id)",
    )
    for table in TABLES
]

# A search reads every vector of a scope, so rows are kept small: the answer (compressed by us) goes out of line,
# vector and question stay in.
ROW_STORAGE = """
ALTER TABLE caching_entry
    ALTER COLUMN answer SET STORAGE EXTERNAL,
    ALTER COLUMN vector SET STORAGE MAIN,
    ALTER COLUMN question SET STORAGE MAIN,
    ALTER COLUMN usage SET STORAGE MAIN;
ALTER TABLE caching_entry SET (toast_tuple_target = 512);
"""


class Migration(migrations.Migration):
    dependencies = [("caching", "0001_tables"), ("tenants", "0002_rls_and_triggers")]

    operations = [
        migrations.RunSQL([up for up, _ in TENANT_FIRST_KEYS], [down for _, down in TENANT_FIRST_KEYS]),
        migrations.RunSQL(ROW_STORAGE, migrations.RunSQL.noop),
        *(EnableRLS(table) for table in TABLES),
        GrantApp("caching_entry", "SELECT, INSERT, UPDATE, DELETE"),
        GrantApp("caching_scope", "SELECT, INSERT, UPDATE"),
        GrantApp("caching_label", "SELECT, INSERT"),
        GrantApp("caching_stat", "SELECT"),
    ]
