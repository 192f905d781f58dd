"""A deferred call may have a webhook, which gets a notice when it is over."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0005_deferred_jobs"),
        ('tenants', '0002_rls_and_triggers'),
    ]

    operations = [
        migrations.AddField(
            model_name='deferredjob',
            name='channel',
            field=models.CharField(blank=True, default='', help_text='The webhook that gets a notice when it is over.', max_length=100),
        ),
        migrations.AddField(
            model_name='deferredjob',
            name='is_notified',
            field=models.BooleanField(default=False, help_text='Whether the webhook has taken it.'),
        ),
        migrations.AddField(
            model_name='deferredjob',
            name='notices',
            field=models.PositiveSmallIntegerField(default=0, help_text='How often a notice was sent.'),
        ),
        migrations.AddField(
            model_name='deferredjob',
            name='notify_at',
            field=models.DateTimeField(blank=True, help_text='Not before then a notice is sent again.', null=True),
        ),
        migrations.AddIndex(
            model_name='deferredjob',
            index=models.Index(condition=models.Q(('finished_at__isnull', False), ('is_notified', False), models.Q(('channel', ''), _negated=True)), fields=['id'], name='deferredjob_notice'),
        ),
    ]
