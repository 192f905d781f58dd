"""Tables of the semantic cache, their storage, the functions that gather counts, and the walls between tenants."""

import django.db.models.deletion
import pgvector.django.halfvec
from django.db import migrations, models
from pgvector.django import VectorExtension

from tenants.rls import EnableRLS, GrantApp

TABLES = ("caching_entry", "caching_label", "caching_scope", "caching_stat")

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

# Counts of many tenants arrive together, from a role that sees one tenant at a time: so these two run as the owner,
# and can do nothing but add.
CREATE_FUNCTIONS = """
CREATE FUNCTION caching_add_counts(tenants bigint[], hours timestamptz[], caches text[], outcomes text[],
                                   reasons text[], scopes bytea[], counts bigint[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO caching_stat (tenant_id, hour, cache, outcome, reason, scope_digest, count)
    SELECT t.id, u.hour, u.cache, u.outcome, u.reason, u.scope, u.count
    FROM unnest(tenants, hours, caches, outcomes, reasons, scopes, counts)
         AS u(tenant, hour, cache, outcome, reason, scope, count)
    JOIN tenants_tenant t ON t.id = u.tenant
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (tenant_id, hour, cache, outcome, reason, scope_digest)
    DO UPDATE SET count = caching_stat.count + excluded.count
$$;
CREATE FUNCTION caching_touch_entries(tenants bigint[], ids bigint[], more_hits integer[], at timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE caching_entry e SET hits = e.hits + u.more, last_hit_at = greatest(e.last_hit_at, at)
    FROM unnest(tenants, ids, more_hits) AS u(tenant, id, more)
    WHERE e.tenant_id = u.tenant AND e.id = u.id
$$;
REVOKE ALL ON FUNCTION caching_add_counts(bigint[], timestamptz[], text[], text[], text[], bytea[], bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION caching_touch_entries(bigint[], bigint[], integer[], timestamptz) FROM PUBLIC;
"""
DROP_FUNCTIONS = """
DROP FUNCTION caching_add_counts(bigint[], timestamptz[], text[], text[], text[], bytea[], bigint[]);
DROP FUNCTION caching_touch_entries(bigint[], bigint[], integer[], timestamptz);
"""


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0001_initial'),
    ]

    operations = [
        VectorExtension(),
        migrations.CreateModel(
            name='CacheEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_digest', models.BinaryField(max_length=32, verbose_name='scope')),
                ('question_digest', models.BinaryField(max_length=16)),
                ('embedder', models.CharField(max_length=100)),
                ('vector', pgvector.django.halfvec.HalfVectorField()),
                ('question', models.TextField(verbose_name='question')),
                ('answer', models.BinaryField(verbose_name='answer, packed')),
                ('circle', models.CharField(help_text='tenant, or the one user or key that may reuse the answer', max_length=255, verbose_name='shared with')),
                ('endpoint', models.CharField(max_length=64)),
                ('route', models.CharField(max_length=255, verbose_name='model asked for')),
                ('model', models.CharField(max_length=128, verbose_name='model that answered')),
                ('provider', models.CharField(blank=True, default='', max_length=128)),
                ('prompt_version', models.CharField(blank=True, default='', max_length=200)),
                ('usage', models.JSONField(blank=True, default=dict)),
                ('list_cost_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28, verbose_name='list cost, USD')),
                ('key_id', models.BigIntegerField(blank=True, null=True, verbose_name='stored by key')),
                ('request_id', models.CharField(blank=True, default='', max_length=64, verbose_name='stored by request')),
                ('hits', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField()),
                ('last_hit_at', models.DateTimeField(help_text='last hit, or when it was stored', verbose_name='last used')),
                ('expires_at', models.DateTimeField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_entries', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cached answer',
                'verbose_name_plural': 'cached answers',
                'db_table': 'caching_entry',
                'indexes': [models.Index(fields=['tenant', 'last_hit_at'], name='caching_entry_lru'), models.Index(fields=['expires_at'], name='caching_entry_expiry'), models.Index(fields=['tenant', 'model'], name='caching_entry_model'), models.Index(fields=['id'], name='caching_entry_id')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'scope_digest', 'question_digest'), name='caching_entry_question'), models.CheckConstraint(condition=models.Q(('expires_at__gt', models.F('created_at'))), name='caching_entry_lives_forward')],
            },
        ),
        migrations.CreateModel(
            name='CacheLabel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_digest', models.BinaryField(max_length=32, verbose_name='scope')),
                ('entry_id', models.BigIntegerField(blank=True, null=True, verbose_name='entry')),
                ('similarity', models.FloatField()),
                ('is_wrong', models.BooleanField(verbose_name='would have been wrong')),
                ('weight', models.FloatField(default=1)),
                ('source', models.CharField(choices=[('miss', 'a miss that had a candidate'), ('check', 'a hit held back to check it'), ('feedback', "a user's verdict")], max_length=10)),
                ('verdict', models.CharField(blank=True, default='', max_length=60, verbose_name='why')),
                ('at', models.DateTimeField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_labels', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cache label',
                'verbose_name_plural': 'cache labels',
                'db_table': 'caching_label',
                'indexes': [models.Index(fields=['tenant', 'scope_digest', '-id'], name='caching_label_window')],
                'constraints': [models.CheckConstraint(condition=models.Q(('weight__gt', 0)), name='caching_label_weight')],
            },
        ),
        migrations.CreateModel(
            name='CacheScope',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope_digest', models.BinaryField(max_length=32, verbose_name='scope')),
                ('circle', models.CharField(max_length=255, verbose_name='shared with')),
                ('endpoint', models.CharField(max_length=64)),
                ('route', models.CharField(max_length=255, verbose_name='model asked for')),
                ('embedder', models.CharField(max_length=100)),
                ('prompt_version', models.CharField(blank=True, default='', max_length=200)),
                ('threshold', models.FloatField(blank=True, help_text='similarity; empty while closed', null=True)),
                ('max_error_rate', models.FloatField(verbose_name='bound on wrong hits')),
                ('error_rate', models.FloatField(blank=True, null=True, verbose_name='wrong hits, estimated')),
                ('error_rate_upper', models.FloatField(blank=True, null=True, verbose_name='wrong hits, upper bound')),
                ('labels', models.PositiveIntegerField(default=0, verbose_name='labels in all')),
                ('labels_since_update', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField()),
                ('updated_at', models.DateTimeField(verbose_name='threshold of')),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_scopes', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cache scope',
                'verbose_name_plural': 'cache scopes',
                'db_table': 'caching_scope',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'scope_digest'), name='caching_scope_digest'), models.CheckConstraint(condition=models.Q(('threshold__isnull', True), models.Q(('threshold__gt', 0), ('threshold__lte', 1)), _connector='OR'), name='caching_scope_threshold')],
            },
        ),
        migrations.CreateModel(
            name='CacheStat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField()),
                ('cache', models.CharField(choices=[('exact', 'exact'), ('semantic', 'semantic')], max_length=10)),
                ('outcome', models.CharField(max_length=10)),
                ('reason', models.CharField(blank=True, default='', max_length=40)),
                ('scope_digest', models.BinaryField(default=b'', max_length=32, verbose_name='scope')),
                ('count', models.PositiveBigIntegerField(default=0)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_stats', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cache count',
                'verbose_name_plural': 'cache counts',
                'db_table': 'caching_stat',
                'constraints': [models.UniqueConstraint(fields=('tenant', 'hour', 'cache', 'outcome', 'reason', 'scope_digest'), name='caching_stat_slot')],
            },
        ),
        migrations.RunSQL([up for up, _ in TENANT_FIRST_KEYS], [down for _, down in TENANT_FIRST_KEYS]),
        migrations.RunSQL(ROW_STORAGE, migrations.RunSQL.noop),
        migrations.RunSQL(CREATE_FUNCTIONS, DROP_FUNCTIONS),
        *(EnableRLS(table) for table in TABLES),
        GrantApp("caching_entry", "SELECT, INSERT, UPDATE, DELETE"),
        GrantApp("caching_scope", "SELECT, INSERT, UPDATE"),
        GrantApp("caching_label", "SELECT, INSERT"),
        GrantApp("caching_stat", "SELECT"),
        GrantApp(
            "caching_add_counts(bigint[], timestamptz[], text[], text[], text[], bytea[], bigint[])",
            "EXECUTE",
            "FUNCTION",
        ),
        GrantApp("caching_touch_entries(bigint[], bigint[], integer[], timestamptz)", "EXECUTE", "FUNCTION"),
    ]
