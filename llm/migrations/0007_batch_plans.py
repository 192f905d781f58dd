"""What becomes of a batch's line: answered from memory, led by an equal one, sent; and any number of jobs for a model."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0006_deferred_notices"),
        ("tenants", "0002_rls_and_triggers"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='batchjob',
            name='batchjob_one_per_model',
        ),
        migrations.AddField(
            model_name='batch',
            name='context',
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField()), default=dict, help_text='What its headers said of all lines: cache, tier, compress, prompt_version.'),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='attempt_no',
            field=models.PositiveSmallIntegerField(default=1, help_text="Of its attempts, this one's number."),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='exact_key',
            field=models.CharField(blank=True, default='', help_text="Its answer's name in the exact cache; empty: not kept there.", max_length=200),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='lane',
            field=models.CharField(choices=[('batch', 'Batch'), ('online', 'Online')], default='batch', max_length=8),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='leader',
            field=models.ForeignKey(blank=True, help_text='The equal line that is sent for it.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='followers', to='llm.batchitem'),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='plan',
            field=models.JSONField(blank=True, default=dict, help_text='How it was routed and compressed, with the steps of its receipt.'),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='remembered',
            field=models.JSONField(blank=True, help_text='The facts of an answer that serves equal lines, or came from memory.', null=True),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='sent_body',
            field=models.JSONField(blank=True, help_text='The body that goes out, where it is shorter.', null=True),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='size_bytes',
            field=models.PositiveIntegerField(default=0, help_text='As it is sent.'),
        ),
        migrations.AddField(
            model_name='batchitem',
            name='size_tokens',
            field=models.PositiveIntegerField(default=0, help_text='Of its input, as estimated.'),
        ),
        migrations.AddField(
            model_name='batchjob',
            name='input_tokens',
            field=models.PositiveBigIntegerField(default=0, help_text='As estimated; what is queued at an account counts against its limit.'),
        ),
        migrations.AddField(
            model_name='batchjob',
            name='lane',
            field=models.CharField(choices=[('batch', 'Batch'), ('online', 'Online')], default='batch', max_length=8),
        ),
        migrations.AddField(
            model_name='batchjob',
            name='line_count',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name='batchitem',
            name='status',
            field=models.CharField(choices=[('pending', 'Pending'), ('planned', 'Planned'), ('remembered', 'Remembered'), ('waiting', 'Waiting'), ('held', 'Held'), ('submitted', 'Submitted'), ('completed', 'Completed'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], default='pending', max_length=16),
        ),
        migrations.AddIndex(
            model_name='batchitem',
            index=models.Index(condition=models.Q(('leader', None), models.Q(('exact_key', ''), _negated=True)), fields=['batch', 'exact_key'], name='batchitem_leaders'),
        ),
        migrations.AddIndex(
            model_name='batchitem',
            index=models.Index(condition=models.Q(('settled_at', None)), fields=['batch', 'status', 'line'], name='batchitem_open'),
        ),
        migrations.AddIndex(
            model_name='batchjob',
            index=models.Index(condition=models.Q(('state', 'finished'), _negated=True), fields=['provider', 'model'], name='batchjob_open_at_account'),
        ),
    ]
