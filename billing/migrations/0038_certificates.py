"""The certificate of a close, with its annex."""

import django.db.models.deletion
from django.db import migrations, models

from tenants.rls import EnableRLS

TABLES = ("billing_certificate", "billing_certificateannex")
LAWS = "".join(
    f"CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION billing_refuse_change();"
    f"CREATE TRIGGER no_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION billing_refuse_change();"
    for table in TABLES
)
NO_LAWS = "".join(f"DROP TRIGGER immutable ON {table}; DROP TRIGGER no_truncate ON {table};" for table in TABLES)


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0037_causes'),
        ('tenants', '0002_rls_and_triggers'),
    ]

    operations = [
        migrations.AddField(
            model_name='statement',
            name='certificate',
            field=models.CharField(blank=True, db_default='', default='', help_text="sha256 of the certificate's text", max_length=64),
        ),
        migrations.CreateModel(
            name='Certificate',
            fields=[
                ('statement', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='certified', serialize=False, to='billing.statement')),
                ('tenant', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('text', models.TextField()),
            ],
        ),
        migrations.CreateModel(
            name='CertificateAnnex',
            fields=[
                ('statement', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='annex', serialize=False, to='billing.statement')),
                ('text', models.TextField()),
            ],
            options={
                'verbose_name_plural': 'certificate annexes',
            },
        ),
        migrations.RunSQL(LAWS, NO_LAWS),
        EnableRLS("billing_certificate"),
    ]
