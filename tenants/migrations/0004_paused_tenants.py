"""A tenant that its owners paused is not one that an operator suspended."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0003_keys_of_persons"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="tenant",
            name="tenant_status_known",
        ),
        migrations.AlterField(
            model_name="historicaltenant",
            name="status",
            field=models.CharField(
                choices=[
                    ("active", "active"),
                    ("paused", "paused"),
                    ("suspended", "suspended"),
                    ("closed", "closed"),
                ],
                default="active",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="status",
            field=models.CharField(
                choices=[
                    ("active", "active"),
                    ("paused", "paused"),
                    ("suspended", "suspended"),
                    ("closed", "closed"),
                ],
                default="active",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="tenant",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ("active", "paused", "suspended", "closed"))),
                name="tenant_status_known",
            ),
        ),
    ]
