"""Deferred calls, and how long the lanes take that they may go. The gateway sees its tenant's jobs, and all delays."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0004_request_log_tenant"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.AlterField(
            model_name='batch',
            name='input_file',
            field=models.ForeignKey(blank=True, help_text='None: it was gathered of deferred calls, and no client sees it.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='llm.storedfile'),
        ),
        migrations.CreateModel(
            name='LaneDelay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=64)),
                ('model', models.CharField(max_length=128)),
                ('lane', models.CharField(choices=[('cache', 'Cache'), ('batch', 'Batch'), ('flex', 'Flex'), ('online', 'Online')], max_length=8)),
                ('counts', models.JSONField(default=list, help_text='Answers by delay, in the buckets of llm.deferred.delays.')),
                ('updated_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('provider', 'model', 'lane'), name='lanedelay_one_per_lane')],
            },
        ),
        migrations.CreateModel(
            name='DeferredJob',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(max_length=64, unique=True)),
                ('key_id', models.BigIntegerField()),
                ('key_name', models.CharField(max_length=200)),
                ('user', models.CharField(blank=True, default='', max_length=200)),
                ('feature', models.CharField(blank=True, default='', max_length=200)),
                ('tags', models.JSONField(blank=True, default=dict)),
                ('endpoint', models.CharField(max_length=64)),
                ('status', models.CharField(choices=[('accepting', 'Accepting'), ('queued', 'Queued'), ('running', 'Running'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='accepting', max_length=16)),
                ('lane', models.CharField(blank=True, choices=[('cache', 'Cache'), ('batch', 'Batch'), ('flex', 'Flex'), ('online', 'Online')], default='', max_length=8)),
                ('lanes', models.JSONField(blank=True, default=list, help_text='What each lane was expected to cost, and how likely it was to be late.')),
                ('request_id', models.UUIDField(unique=True)),
                ('attempt_id', models.UUIDField(blank=True, help_text='What holds its money while it waits.', null=True, unique=True)),
                ('model_asked', models.CharField(max_length=128)),
                ('model', models.CharField(blank=True, default='', max_length=128)),
                ('provider', models.CharField(blank=True, default='', max_length=64)),
                ('fallbacks', models.JSONField(blank=True, default=list, help_text='Models to ask in real time if the first fails.')),
                ('body', models.JSONField(default=dict, help_text='What was asked; empty once it is answered.')),
                ('body_bytes', models.PositiveIntegerField(default=0)),
                ('context', models.JSONField(blank=True, default=dict, help_text='What its headers asked for.')),
                ('steps', models.JSONField(blank=True, default=list, help_text='The beginning of its receipt.')),
                ('input_tokens', models.PositiveIntegerField(default=0)),
                ('output_tokens', models.PositiveIntegerField(default=0)),
                ('estimate_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28)),
                ('hold_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28)),
                ('cost_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28)),
                ('list_cost_usd', models.DecimalField(decimal_places=12, default=0, max_digits=28)),
                ('response', models.JSONField(blank=True, null=True)),
                ('error', models.JSONField(blank=True, null=True)),
                ('created_at', models.DateTimeField()),
                ('deadline_at', models.DateTimeField()),
                ('move_up_at', models.DateTimeField(help_text='From then on it goes out in real time.')),
                ('next_try_at', models.DateTimeField(blank=True, null=True)),
                ('tries', models.PositiveSmallIntegerField(default=0, help_text='How often it went out in real time.')),
                ('started_at', models.DateTimeField(blank=True, null=True)),
                ('leased_until', models.DateTimeField(blank=True, help_text='A worker answers it in real time, and says so until then.', null=True)),
                ('cancel_asked_at', models.DateTimeField(blank=True, null=True)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('is_held', models.BooleanField(default=True, help_text='Whether its hold may still be open.')),
                ('item', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='deferred', to='llm.batchitem')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name': 'deferred call',
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['tenant', '-id'], name='deferredjob_tenant'), models.Index(condition=models.Q(('status__in', ['accepting', 'queued', 'running'])), fields=['tenant', 'status', 'move_up_at'], include=('body_bytes',), name='deferredjob_open'), models.Index(condition=models.Q(('is_held', True), ('status__in', ['failed', 'cancelled'])), fields=['id'], name='deferredjob_held')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', False), ('status__in', ['completed', 'failed', 'cancelled'])), models.Q(('finished_at__isnull', True), ('status__in', ['accepting', 'queued', 'running'])), _connector='OR'), name='deferredjob_finished')],
            },
        ),
        EnableRLS("llm_deferredjob"),
        GrantApp("llm_deferredjob", "SELECT, INSERT, UPDATE, DELETE"),
        GrantApp("llm_lanedelay"),
    ]
