"""Several accounts of one model, shared out by weight; timeouts of a model."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from tenants.rls import NotifyOnChange


class Migration(migrations.Migration):

    dependencies = [
        ("llm", "0006_cost_report_access"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='historicallanguagemodel',
            name='timeouts',
            field=models.JSONField(blank=True, default=dict, help_text="As the provider's, and before them: connect, first_byte, idle, total."),
        ),
        migrations.AddField(
            model_name='historicallanguagemodel',
            name='weight',
            field=models.FloatField(default=1.0, help_text="The account's share of the calls, beside the model's other accounts; 0: only when those fail.", validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1000000)]),
        ),
        migrations.AddField(
            model_name='languagemodel',
            name='timeouts',
            field=models.JSONField(blank=True, default=dict, help_text="As the provider's, and before them: connect, first_byte, idle, total."),
        ),
        migrations.AddField(
            model_name='languagemodel',
            name='weight',
            field=models.FloatField(default=1.0, help_text="The account's share of the calls, beside the model's other accounts; 0: only when those fail.", validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1000000)]),
        ),
        migrations.CreateModel(
            name='HistoricalDeployment',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('upstream', models.CharField(blank=True, default='', help_text='What this provider calls it; empty: as the model says.', max_length=128)),
                ('weight', models.FloatField(default=1.0, help_text="The account's share of the calls, beside the model's other accounts; 0: only when those fail.", validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1000000)])),
                ('timeouts', models.JSONField(blank=True, default=dict, help_text="Before the model's and the provider's: connect, first_byte, idle, total.")),
                ('is_active', models.BooleanField(default=True)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('model', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='llm.languagemodel')),
                ('provider', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='llm.provider')),
            ],
            options={
                'verbose_name': 'historical deployment',
                'verbose_name_plural': 'historical deployments',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('upstream', models.CharField(blank=True, default='', help_text='What this provider calls it; empty: as the model says.', max_length=128)),
                ('weight', models.FloatField(default=1.0, help_text="The account's share of the calls, beside the model's other accounts; 0: only when those fail.", validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1000000)])),
                ('timeouts', models.JSONField(blank=True, default=dict, help_text="Before the model's and the provider's: connect, first_byte, idle, total.")),
                ('is_active', models.BooleanField(default=True)),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='llm.languagemodel')),
                ('provider', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='deployments', to='llm.provider')),
            ],
            options={
                'ordering': ['model', 'provider'],
                'constraints': [models.UniqueConstraint(fields=('model', 'provider'), name='deployment_once_per_account')],
            },
        ),
        NotifyOnChange("llm_deployment", None),
    ]
