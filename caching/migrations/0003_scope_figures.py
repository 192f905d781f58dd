"""What each scope saved by day and how its threshold moved, and the two functions that gather and tell it."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp

TABLES = ("caching_scopeday", "caching_thresholdpoint")
TENANT_FIRST_KEYS = [
    (
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD CONSTRAINT {table}_pkey PRIMARY KEY (tenant_id, id)",
        f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD CONSTRAINT {table}_pkey PRIMARY KEY (id)",
    )
    for table in TABLES
]

# As in the first migration: figures of many tenants come together, and Prometheus is told of many at once, by a role
# that sees one tenant at a time. These two run as the owner, and can add and tell figures, nothing else.
CREATE_FUNCTIONS = """
CREATE FUNCTION caching_add_scope_figures(tenants bigint[], scopes bytea[], days date[], hits bigint[],
                                          saved numeric[], checks bigint[], check_usd numeric[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO caching_scopeday AS d (tenant_id, scope_digest, day, hits, saved_usd, checks, check_usd)
    SELECT t.id, u.scope, u.day, u.hits, u.saved, u.checks, u.check_usd
    FROM unnest(tenants, scopes, days, hits, saved, checks, check_usd)
         AS u(tenant, scope, day, hits, saved, checks, check_usd)
    JOIN tenants_tenant t ON t.id = u.tenant
    ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, scope_digest, day) DO UPDATE
    SET hits = d.hits + excluded.hits, saved_usd = d.saved_usd + excluded.saved_usd,
        checks = d.checks + excluded.checks, check_usd = d.check_usd + excluded.check_usd
$$;
CREATE FUNCTION caching_scope_figures(most integer)
RETURNS TABLE (tenant text, scope text, route text, hits bigint, saved_usd numeric, checks bigint, check_usd numeric,
               threshold float8, error_rate float8, error_rate_upper float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.slug, left(encode(d.scope_digest, 'hex'), 16), coalesce(s.route, ''), d.hits, d.saved_usd, d.checks,
           d.check_usd, s.threshold, s.error_rate, s.error_rate_upper
    FROM (SELECT tenant_id, scope_digest, sum(hits)::bigint AS hits, sum(saved_usd) AS saved_usd,
                 sum(checks)::bigint AS checks, sum(check_usd) AS check_usd
          FROM caching_scopeday WHERE day > current_date - 30
          GROUP BY tenant_id, scope_digest ORDER BY 3 DESC, 1, 2 LIMIT most) d
    JOIN tenants_tenant t ON t.id = d.tenant_id
    LEFT JOIN caching_scope s ON s.tenant_id = d.tenant_id AND s.scope_digest = d.scope_digest
$$;
REVOKE ALL ON FUNCTION
    caching_add_scope_figures(bigint[], bytea[], date[], bigint[], numeric[], bigint[], numeric[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION caching_scope_figures(integer) FROM PUBLIC;
"""
DROP_FUNCTIONS = """
DROP FUNCTION caching_add_scope_figures(bigint[], bytea[], date[], bigint[], numeric[], bigint[], numeric[]);
DROP FUNCTION caching_scope_figures(integer);
"""


class Migration(migrations.Migration):

    dependencies = [
        ("caching", "0002_confirmed_entries"),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='CacheScopeDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_digest', models.BinaryField(max_length=32, verbose_name='scope')),
                ('day', models.DateField()),
                ('hits', models.PositiveBigIntegerField(default=0)),
                ('saved_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28, verbose_name='saved, USD')),
                ('checks', models.PositiveBigIntegerField(default=0)),
                ('check_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28, verbose_name='checks, USD')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_scope_days', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'day of a cache scope',
                'verbose_name_plural': 'days of cache scopes',
                'db_table': 'caching_scopeday',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'scope_digest', 'day'), name='caching_scopeday_slot')],
            },
        ),
        migrations.CreateModel(
            name='CacheThresholdPoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_digest', models.BinaryField(max_length=32, verbose_name='scope')),
                ('at', models.DateTimeField()),
                ('threshold', models.FloatField(null=True)),
                ('max_error_rate', models.FloatField()),
                ('error_rate', models.FloatField(null=True)),
                ('error_rate_upper', models.FloatField(null=True)),
                ('labels', models.PositiveIntegerField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_thresholds', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'threshold of a cache scope',
                'verbose_name_plural': 'thresholds of cache scopes',
                'db_table': 'caching_thresholdpoint',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'scope_digest', 'at'), name='caching_thresholdpoint_slot')],
            },
        ),
        migrations.RunSQL([up for up, _ in TENANT_FIRST_KEYS], [down for _, down in TENANT_FIRST_KEYS]),
        migrations.RunSQL(CREATE_FUNCTIONS, DROP_FUNCTIONS),
        *(EnableRLS(table) for table in TABLES),
        GrantApp(
            "caching_add_scope_figures(bigint[], bytea[], date[], bigint[], numeric[], bigint[], numeric[])",
            "EXECUTE",
            "FUNCTION",
        ),
        GrantApp("caching_scope_figures(integer)", "EXECUTE", "FUNCTION"),
    ]
