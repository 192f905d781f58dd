"""Chat completions that clients asked to have stored."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0009_kept_responses"),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='StoredChat',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(help_text='as the client knows it', max_length=128)),
                ('model', models.TextField(help_text='as it was asked for')),
                ('asked', models.BinaryField(help_text='the messages that were sent, as JSON')),
                ('answer', models.BinaryField(help_text='the answer as it was told, as JSON')),
                ('metadata', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['created_at'], name='storedchat_age')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'public_id'), name='storedchat_once')],
            },
        ),
        EnableRLS("llm_storedchat"),
        GrantApp("llm_storedchat", "SELECT, INSERT, UPDATE, DELETE"),
    ]
