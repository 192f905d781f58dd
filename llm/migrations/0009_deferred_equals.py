"""Equal deferred calls are sent once: each knows the exact cache's key of its answer, and which other one it waits for."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0008_batch_turns"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name='deferredjob',
            name='exact_key',
            field=models.CharField(blank=True, default='', help_text="The exact cache's key of its answer; empty: it shares none.", max_length=200),
        ),
        migrations.AddField(
            model_name='deferredjob',
            name='same_as',
            field=models.ForeignKey(blank=True, help_text='The equal job that is sent; this one gets its answer.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='equals', to='llm.deferredjob'),
        ),
        migrations.AddIndex(
            model_name='deferredjob',
            index=models.Index(condition=models.Q(('status', 'running'), models.Q(('exact_key', ''), _negated=True)), fields=['tenant', 'exact_key'], name='deferredjob_equal'),
        ),
    ]
