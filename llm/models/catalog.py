"""Providers and the models they serve: what an operator declares, and the pipeline may call.

Invariant: a model's name is what clients ask for and is unique; what the provider calls it is `upstream`. A model has
one account of its own, and any number of further ones that serve it as well: its deployments.
"""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from simple_history.models import HistoricalRecords

from llm.providers.kinds import kind_choices, problem_with_options
from tenants.models import Tenant
from tenants.secrets import EncryptedTextField


def _weight_field() -> "models.FloatField[float, float]":
    return models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0), MaxValueValidator(1_000_000)],
        help_text="The account's share of the model's calls among all its accounts; 0: only when the others fail.",
    )


class Provider(models.Model):
    """One account at one server of a kind that the gateway knows (`llm.providers.kinds`)."""

    name = models.SlugField(max_length=64, unique=True)
    kind = models.CharField(
        max_length=16, choices=kind_choices, help_text="What the server is, and how it is asked."
    )
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.PROTECT,
        related_name="+",
        null=True,
        blank=True,
        help_text="The one tenant whose account it is; empty: all tenants share it.",
    )
    base_url = models.URLField(
        max_length=300, help_text="The server's address, as the SDK of its kind takes it."
    )
    api_key = EncryptedTextField(blank=True, default="")
    options = models.JSONField(
        default=dict,
        blank=True,
        help_text="What its kind has to know besides, by name: docs/providers.md.",
    )
    limits = models.JSONField(
        default=dict, blank=True, help_text="rpm, tpm and concurrency of this account at the provider."
    )
    timeouts = models.JSONField(
        default=dict,
        blank=True,
        help_text="connect, first_byte, idle and total, in seconds; what is absent has a default.",
    )
    admin_api_key = EncryptedTextField(
        blank=True,
        default="",
        help_text="Reads the account's cost reports; the providers want another key for them.",
    )
    report_scope = models.JSONField(
        default=dict,
        blank=True,
        help_text="What of the organization's costs is this account's: projects (or workspaces) and api_keys, by id.",
    )
    is_active = models.BooleanField(default=True)
    batches_wait = models.BooleanField(
        default=False, help_text="Nothing more of a batch goes out to it; what it has already is collected."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords(excluded_fields=["api_key", "admin_api_key"])

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def state(self) -> str:
        """In a word: active, draining (no new calls) or disabled (its batches wait, too)."""
        if self.is_active:
            return "active"
        return "disabled" if self.batches_wait else "draining"

    def clean(self) -> None:
        if problem := problem_with_options(self.kind, self.options):
            raise ValidationError({"options": problem})


class LanguageModel(models.Model):
    """A model that clients may ask for by name."""

    class Tier(models.TextChoices):
        SIMPLE = "simple", "Simple"
        STANDARD = "standard", "Standard"
        COMPLEX = "complex", "Complex"

    class Kind(models.TextChoices):
        CHAT = "chat", "Chat"
        EMBEDDING = "embedding", "Embedding"

    name = models.CharField(max_length=128, unique=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="language_models")
    upstream = models.CharField(max_length=128, help_text="What the provider calls it.")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.CHAT)
    tier = models.CharField(
        max_length=16,
        choices=Tier.choices,
        blank=True,
        default="",
        help_text="Empty: never chosen by routing, only by name.",
    )
    context_window = models.PositiveIntegerField(help_text="Tokens, input and output together.")
    max_output_tokens = models.PositiveIntegerField(
        default=0,
        help_text="The longest answer that its provider allows; 0: not known, the provider decides.",
    )
    capabilities = models.JSONField(
        default=list, blank=True, help_text='For instance ["tools", "vision", "json_schema"].'
    )
    fallbacks = models.JSONField(
        default=list, blank=True, help_text="Names of models to try when this one's provider fails."
    )
    weight = _weight_field()
    timeouts = models.JSONField(
        default=dict,
        blank=True,
        help_text="As the provider's, and before them: connect, first_byte, idle, total.",
    )
    retires_on = models.DateField(
        null=True,
        blank=True,
        help_text="The day from which its provider does not serve it any more, as announced.",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name = "model"

    def __str__(self) -> str:
        return self.name


class Deployment(models.Model):
    """A further account that serves a model: calls are shared out by weight and health. It has prices of its own."""

    model = models.ForeignKey(LanguageModel, on_delete=models.CASCADE, related_name="deployments")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="deployments")
    upstream = models.CharField(
        max_length=128,
        blank=True,
        default="",
        help_text="What this provider calls it; empty: as the model says.",
    )
    weight = _weight_field()
    timeouts = models.JSONField(
        default=dict,
        blank=True,
        help_text="Before the model's and the provider's: connect, first_byte, idle, total.",
    )
    is_active = models.BooleanField(default=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["model", "provider"]
        constraints = [
            # an account twice would be judged, limited and priced as one all the same
            models.UniqueConstraint(fields=["model", "provider"], name="deployment_once_per_account"),
        ]

    def __str__(self) -> str:
        return f"{self.model} at {self.provider}"

    def clean(self) -> None:
        if self.model_id and self.provider_id and self.model.provider_id == self.provider_id:
            raise ValidationError({"provider": "is the model's own account already"})
