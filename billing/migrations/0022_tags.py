"""What callers say of whose cost their calls are: admitted values of tags, and the tags of runs."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0021_split_rules'),
        ('tenants', '0007_allocation'),
    ]

    operations = [
        migrations.CreateModel(
            name='RunTags',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.CharField(max_length=220)),
                ('user', models.CharField(blank=True, default='', max_length=200)),
                ('run', models.CharField(max_length=200)),
                ('tags', models.JSONField()),
                ('set_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('expires_at', models.DateTimeField()),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'owner', 'user', 'run'), name='run_tags_once')],
            },
        ),
        migrations.CreateModel(
            name='TagValue',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.CharField(max_length=7)),
                ('name', models.CharField(max_length=200)),
                ('value', models.CharField(max_length=200)),
                ('tenant', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'month', 'name', 'value'), name='tag_value_once')],
            },
        ),
        EnableRLS("billing_tagvalue"),
        EnableRLS("billing_runtags"),
    ]
