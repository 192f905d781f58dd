"""The requests of one session, run or agent are found by it."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0014_refresh_ahead"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name='requestlog',
            name='agent',
            field=models.CharField(blank=True, help_text="Of the session's agents.", max_length=200, null=True),
        ),
        migrations.AddField(
            model_name='requestlog',
            name='run',
            field=models.CharField(blank=True, help_text='What `x-purser-run` names: a run, a ticket.', max_length=200, null=True),
        ),
        migrations.AlterField(
            model_name='batch',
            name='context',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='What its headers said of all lines: cache, tier, compress, prompt_version, trace.'),
        ),
        migrations.AddIndex(
            model_name='requestlog',
            index=models.Index(condition=models.Q(('session__gt', '')), fields=['tenant', 'session', '-at'], name='requestlog_session'),
        ),
        migrations.AddIndex(
            model_name='requestlog',
            index=models.Index(condition=models.Q(('run__gt', '')), fields=['tenant', 'run', '-at'], name='requestlog_run'),
        ),
    ]
