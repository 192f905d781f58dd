"""How people come: invitations, identity providers, and second factors where a tenant asks for them."""


import django.db.models.deletion
import django.utils.timezone
import simple_history.models
import tenants.secrets
from django.conf import settings
from django.db import migrations, models

from tenants.rls import EnableRLS


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_audit"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="historicaltenant",
            name="requires_second_factor",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="its people sign in with a second factor, or add one first",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="requires_second_factor",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="its people sign in with a second factor, or add one first",
            ),
        ),
        migrations.CreateModel(
            name="HistoricalIdentityProvider",
            fields=[
                (
                    "id",
                    models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID"),
                ),
                ("name", models.CharField(help_text="as its button is called", max_length=100)),
                ("slug", models.SlugField(help_text="in the address that it sends people back to")),
                (
                    "issuer",
                    models.URLField(
                        help_text="https://…, as its discovery document names itself", max_length=300
                    ),
                ),
                ("client_id", models.CharField(max_length=300)),
                (
                    "domains",
                    models.JSONField(
                        default=list, help_text="of e-mail addresses that it may vouch for, e.g. acme.com"
                    ),
                ),
                (
                    "tenant_claim",
                    models.CharField(
                        blank=True, default="", help_text="a claim with a tenant's short name", max_length=100
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "owner"), ("finance", "finance"), ("member", "member")],
                        default="member",
                        max_length=10,
                    ),
                ),
                (
                    "role_claim",
                    models.CharField(
                        blank=True, default="", help_text="a claim with groups or roles", max_length=100
                    ),
                ),
                (
                    "roles",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='roles by the claim\'s values: {"purser-owners": "owner"}',
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        help_text="where its new people belong; empty: nowhere, or as the claim says",
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical identity provider",
                "verbose_name_plural": "historical identity providers",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalInvitation",
            fields=[
                (
                    "id",
                    models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name="ID"),
                ),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "owner"), ("finance", "finance"), ("member", "member")],
                        default="member",
                        max_length=10,
                    ),
                ),
                (
                    "person",
                    models.CharField(blank=True, default="", help_text="as in a membership", max_length=200),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(editable=False)),
                ("accepted_at", models.DateTimeField(editable=False, null=True)),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                ("history_change_reason", models.CharField(max_length=100, null=True)),
                (
                    "history_type",
                    models.CharField(
                        choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1
                    ),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "invited_by",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "historical invitation",
                "verbose_name_plural": "historical invitations",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="IdentityProvider",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(help_text="as its button is called", max_length=100)),
                (
                    "slug",
                    models.SlugField(help_text="in the address that it sends people back to", unique=True),
                ),
                (
                    "issuer",
                    models.URLField(
                        help_text="https://…, as its discovery document names itself", max_length=300
                    ),
                ),
                ("client_id", models.CharField(max_length=300)),
                ("client_secret", tenants.secrets.EncryptedTextField(blank=True, default="")),
                (
                    "domains",
                    models.JSONField(
                        default=list, help_text="of e-mail addresses that it may vouch for, e.g. acme.com"
                    ),
                ),
                (
                    "tenant_claim",
                    models.CharField(
                        blank=True, default="", help_text="a claim with a tenant's short name", max_length=100
                    ),
                ),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "owner"), ("finance", "finance"), ("member", "member")],
                        default="member",
                        max_length=10,
                    ),
                ),
                (
                    "role_claim",
                    models.CharField(
                        blank=True, default="", help_text="a claim with groups or roles", max_length=100
                    ),
                ),
                (
                    "roles",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='roles by the claim\'s values: {"purser-owners": "owner"}',
                    ),
                ),
                ("is_active", models.BooleanField(default=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        help_text="where its new people belong; empty: nowhere, or as the claim says",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("name",),
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "owner"), ("finance", "finance"), ("member", "member")],
                        default="member",
                        max_length=10,
                    ),
                ),
                (
                    "person",
                    models.CharField(blank=True, default="", help_text="as in a membership", max_length=200),
                ),
                ("token_hash", models.BinaryField(max_length=32, unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField(editable=False)),
                ("accepted_at", models.DateTimeField(editable=False, null=True)),
                ("revoked_at", models.DateTimeField(editable=False, null=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ("-pk",),
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("accepted_at", None), ("revoked_at", None)),
                        fields=("tenant", "email"),
                        name="invitation_open_once",
                    )
                ],
            },
        ),
        EnableRLS("tenants_invitation"),
        EnableRLS("tenants_identityprovider"),
    ]
