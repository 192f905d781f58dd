"""A tenant that changes its time zone goes on in the budget windows it has."""

from django.db import migrations

from billing import functions


class Migration(migrations.Migration):
    dependencies = [("billing", "0046_revoked_prices")]

    operations = functions.define()
