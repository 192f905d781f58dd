"""What a unit of each meter costs, since when, and since when we know it.

Invariant: a price row is never edited and never deleted, only superseded once (trigger); at any instant at
most one live row prices a meter in its context (exclusion constraint). Both times are kept, because
providers revise the past: `valid_from`/`valid_to` is when the price holds, `recorded_at`/`superseded_at`
when we believed it.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now

from billing.models.fields import UnitPriceField
from tenants.models import Tenant


class PriceRow(models.Model):
    """The price of one leaf meter of one model in one context. Changed by `billing.price_admin` only."""

    is_audited: ClassVar[bool] = True

    class Book(models.TextChoices):
        LIST = "list", "provider's list"
        COST = "cost", "our own cost"
        CONTRACT = "contract", "a tenant's contract"

    class Processing(models.TextChoices):
        ONLINE = "online", "online"
        BATCH = "batch", "batch"
        FLEX = "flex", "flex"
        PRIORITY = "priority", "priority"

    book = models.CharField(max_length=10, choices=Book, default=Book.LIST)
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=128)
    meter = models.CharField(max_length=64, help_text="input, cache_read, cache_write_5m, output, ...")
    service_tier = models.CharField(max_length=32, default="standard")
    processing = models.CharField(max_length=10, choices=Processing, default=Processing.ONLINE)
    region = models.CharField(max_length=64, default="global")
    above_input_tokens = models.BigIntegerField(
        default=0, help_text="holds for the whole request when its input is longer than this"
    )
    unit_price = UnitPriceField(help_text="USD for `per` units")
    per = models.IntegerField(default=1_000_000)
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)
    recorded_at = models.DateTimeField(default=now, editable=False)
    superseded_at = models.DateTimeField(null=True, blank=True, editable=False)
    superseded_reason = models.TextField(blank=True, default="", editable=False)
    superseded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.PROTECT,
        related_name="+",
    )
    source = models.CharField(max_length=100)
    source_digest = models.CharField(max_length=64, blank=True, default="")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        verbose_name = "price"
        ordering = ("provider", "model", "processing", "above_input_tokens", "meter", "-valid_from")
        indexes = (
            models.Index(
                fields=("provider", "model"),
                condition=Q(superseded_at__isnull=True),
                name="price_live_of_model",
            ),
        )
        constraints = (
            # A contract belongs to a tenant, a list price to none.
            models.CheckConstraint(
                condition=Q(book="contract", tenant__isnull=False)
                | (~Q(book="contract") & Q(tenant__isnull=True)),
                name="price_contract_has_tenant",
            ),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="price_not_negative"),
            models.CheckConstraint(condition=Q(per__gt=0), name="price_per_positive"),
            models.CheckConstraint(
                condition=Q(above_input_tokens__gte=0), name="price_threshold_not_negative"
            ),
            # An empty range would price nothing and hide an overlap.
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gt=F("valid_from")),
                name="price_range_not_empty",
            ),
        )

    def __str__(self) -> str:
        sku = f"{self.provider}/{self.model} {self.meter} {self.processing}"
        return f"{sku}: {self.unit_price} USD per {self.per}"


class PriceProposal(models.Model):
    """What an import would change, waiting for a person. `diff` lists added, changed and ended rows."""

    is_audited: ClassVar[bool] = True

    class Status(models.TextChoices):
        PROPOSED = "proposed", "proposed"
        APPROVED = "approved", "approved"
        REJECTED = "rejected", "rejected"
        APPLIED = "applied", "applied"

    source = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, help_text="sha256 over the canonical rows of the source")
    status = models.CharField(max_length=10, choices=Status, default=Status.PROPOSED)
    diff = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, editable=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            # The same list, proposed twice, is one question to a person.
            models.UniqueConstraint(
                fields=("digest",), condition=Q(status="proposed"), name="price_proposal_open_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.source} ({self.status})"
