"""Entries, labels, scopes and counts of the semantic cache."""

import django.contrib.postgres.fields
import django.db.models.deletion
import pgvector.django.halfvec
from django.db import migrations, models
from pgvector.django import VectorExtension


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('tenants', '0001_tables'),
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
                ('answer_group', models.BinaryField(db_default=b'', default=b'', max_length=8, verbose_name='same answer as')),
                ('key_id', models.BigIntegerField(blank=True, null=True, verbose_name='stored by key')),
                ('confirmed_by', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, default=list, help_text='other keys that a provider gave the same answer', size=None, verbose_name='confirmed by keys')),
                ('vouchers', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), blank=True, db_default=[], default=list, editable=False, size=None)),
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
                ('certainty', models.FloatField(blank=True, null=True)),
                ('evidence', models.BinaryField(null=True)),
                ('is_wrong', models.BooleanField(verbose_name='would have been wrong')),
                ('weight', models.FloatField(default=1)),
                ('source', models.CharField(choices=[('miss', 'a miss that had a candidate'), ('check', 'a hit, asked upstream as well'), ('would_hit', 'what a dry run would have served'), ('feedback', "a user's verdict"), ('repeat', 'an exact hit asked again, to judge the judge')], max_length=10)),
                ('is_repeat', models.BooleanField(db_default=False, default=False, verbose_name='the very same question')),
                ('verdict', models.CharField(blank=True, default='', max_length=60, verbose_name='why')),
                ('at', models.DateTimeField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='cache_labels', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'cache label',
                'verbose_name_plural': 'cache labels',
                'db_table': 'caching_label',
                'indexes': [models.Index(fields=['tenant', 'scope_digest', '-id'], name='caching_label_window'), models.Index(condition=models.Q(('is_repeat', True)), fields=['tenant', 'scope_digest'], name='caching_label_repeats')],
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
                ('threshold', models.FloatField(blank=True, help_text='certainty; empty while closed', null=True)),
                ('max_error_rate', models.FloatField(verbose_name='bound on wrong hits')),
                ('error_rate', models.FloatField(blank=True, null=True, verbose_name='wrong hits, estimated')),
                ('error_rate_upper', models.FloatField(blank=True, null=True, verbose_name='wrong hits, upper bound')),
                ('weights', models.BinaryField(null=True)),
                ('checked_share', models.FloatField(db_default=0.05, default=0.05, verbose_name='share of hits to check')),
                ('labels', models.PositiveIntegerField(default=0, verbose_name='labels in all')),
                ('labels_since_update', models.PositiveIntegerField(default=0)),
                ('noise_floor', models.FloatField(blank=True, help_text='share of labels that are wrong, at least', null=True, verbose_name="judge's noise floor")),
                ('repeats', models.PositiveIntegerField(db_default=0, default=0, verbose_name='questions answered twice')),
                ('repeats_wrong', models.PositiveIntegerField(db_default=0, default=0, verbose_name='of them judged to differ')),
                ('repeats_from', models.CharField(blank=True, db_default='', default='', max_length=5)),
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
    ]
