"""Whose the responses are that a provider keeps."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS, GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0008_refusals_without_a_tenant"),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='KeptResponse',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('response_id', models.CharField(max_length=200)),
                ('provider', models.CharField(help_text='the account that keeps it', max_length=64)),
                ('model', models.CharField(max_length=128)),
                ('context_tokens', models.BigIntegerField(help_text='its input and its output: what a next call begins with')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-created_at'],
                'indexes': [models.Index(fields=['created_at'], name='keptresponse_age')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'response_id'), name='keptresponse_once'), models.CheckConstraint(condition=models.Q(('context_tokens__gte', 0)), name='keptresponse_bounds')],
            },
        ),
        EnableRLS("llm_keptresponse"),
        GrantApp("llm_keptresponse", "SELECT, INSERT, DELETE"),
        GrantApp("llm_keptresponse_id_seq", "USAGE", "SEQUENCE"),
    ]
