"""What was paid ahead is set off: its account, and the terms of statements for the API."""

from django.db import migrations, models

from tenants.rls import GrantApp


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0033_agreement_proposals'),
    ]

    operations = [
        migrations.AlterField(
            model_name='glaccount',
            name='kind',
            field=models.CharField(choices=[('receivable', 'receivables'), ('revenue', 'revenue from usage'), ('credits', 'credits given'), ('commitments', 'minimum commitments'), ('tax', 'value-added tax'), ('accrual', 'accrued income'), ('prepaid', 'prepaid balances')], max_length=11),
        ),
        migrations.AlterField(
            model_name='historicalglaccount',
            name='kind',
            field=models.CharField(choices=[('receivable', 'receivables'), ('revenue', 'revenue from usage'), ('credits', 'credits given'), ('commitments', 'minimum commitments'), ('tax', 'value-added tax'), ('accrual', 'accrued income'), ('prepaid', 'prepaid balances')], max_length=11),
        ),
        GrantApp("billing_statement", "SELECT (terms)"),
    ]
