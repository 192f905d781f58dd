"""Rate rules: what a tenant pays, given the provider's list price.

Invariant: a rule never changes but for its end (trigger), so that what was rated under it can be rated again;
at any moment a tenant's priorities are distinct (exclusion constraint), so that "first match" has one meaning. What a
rule changes of the past is a `RuleCheck`, written with it.
"""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils.timezone import now
from simple_history.models import HistoricalRecords

from billing.models.fields import UnitPriceField
from billing.models.reratings import Rerating
from tenants.models import Tenant


class RateRule(models.Model):
    """One rule of a tenant's rate plan: the lowest priority that names a meter counts for it, and no other."""

    class Kind(models.TextChoices):
        PASS_THROUGH = "pass_through", "as listed"
        MARKUP = "markup_pct", "markup, percent"
        DISCOUNT = "discount_pct", "discount, percent"
        FIXED = "fixed_unit_price", "fixed unit price, USD"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="rate_rules")
    priority = models.IntegerField(help_text="the lowest number that fits counts")
    kind = models.CharField(max_length=20, choices=Kind)
    value = UnitPriceField(
        null=True, blank=True, help_text="percent, or USD for as many units as the list's price"
    )
    provider = models.CharField(max_length=64, blank=True, default="", help_text="empty: every one")
    model = models.CharField(
        max_length=128,
        blank=True,
        default="",
        help_text="a name or a pattern such as gpt-4*; empty: every one",
    )
    meter = models.CharField(max_length=64, blank=True, default="", help_text="empty: every one")
    processing = models.CharField(max_length=10, blank=True, default="", help_text="empty: every one")
    valid_from = models.DateTimeField(default=now)
    valid_to = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    history = HistoricalRecords()

    class Meta:
        ordering = ("tenant", "priority", "valid_from")
        constraints = (
            models.CheckConstraint(
                condition=Q(kind__in=("pass_through", "markup_pct", "discount_pct", "fixed_unit_price")),
                name="rate_rule_kind_known",
            ),
            # A rule that passes the list on has nothing to say; every other one has.
            models.CheckConstraint(
                condition=Q(kind="pass_through", value__isnull=True)
                | (~Q(kind="pass_through") & Q(value__isnull=False)),
                name="rate_rule_value_where_needed",
            ),
            models.CheckConstraint(
                condition=Q(value__isnull=True) | Q(value__gte=0), name="rate_rule_not_negative"
            ),
            # More than all of it would be a price below zero.
            models.CheckConstraint(
                condition=~Q(kind="discount_pct") | Q(value__lte=100), name="rate_rule_discount_at_most_all"
            ),
            models.CheckConstraint(
                condition=Q(valid_to__isnull=True) | Q(valid_to__gte=F("valid_from")), name="rate_rule_ends"
            ),
        )

    def __str__(self) -> str:
        of = "/".join(part or "*" for part in (self.provider, self.model, self.meter))
        value = "" if self.value is None else f" {self.value.normalize():f}"
        return f"{self.tenant} {self.priority}: {of} {self.kind}{value}"


class RuleCheck(models.Model):
    """A span of past usage that a backdated rule, or a backdated end of one, changed; and what was proposed for it."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    rule = models.ForeignKey(RateRule, on_delete=models.PROTECT, related_name="+")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    recorded_at = models.DateTimeField(default=now, editable=False)
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    checked_at = models.DateTimeField(null=True, editable=False)
    rerating = models.ForeignKey(Rerating, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        indexes = (
            models.Index(fields=("recorded_at",), condition=Q(checked_at=None), name="rule_check_waiting"),
        )

    def __str__(self) -> str:
        return f"{self.rule}: {self.starts_at:%Y-%m-%d %H:%M} to {self.ends_at:%Y-%m-%d %H:%M}"
