"""What a closed month said: its statement, the lines, the files, and what people added to the books by hand.

Invariant: all of it is written once, by `closing.close_period` and the verbs of `corrections.py`, and never
changes (triggers). A tenant's statements are numbered without a gap, and each carries the digest of the one
before it; an issuer's are, too, and no two have the same code.
"""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from billing.models.fields import AmountField, UnitPriceField
from billing.models.ledger import BillingPeriod
from tenants.models import Tenant


class Statement(models.Model):
    """The bill of one closed month. `total` is the printed lines' sum, the line of their rounding included."""

    is_audited: ClassVar[bool] = True

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="statements")
    period = models.OneToOneField(BillingPeriod, on_delete=models.PROTECT, related_name="statement")
    number = models.IntegerField(help_text="counts the tenant's statements from 1, without a gap")
    issuer = models.CharField(max_length=200, blank=True, default="", help_text="who asks for the money")
    serial = models.BigIntegerField(
        null=True, blank=True, help_text="counts the issuer's statements of all tenants, without a gap"
    )
    code = models.CharField(max_length=40, help_text="as invoices and FOCUS name it")
    timezone = models.CharField(max_length=63)
    currency = models.CharField(max_length=3, default="USD")
    fx_rate = AmountField(default=1, help_text="units of the currency for one USD, frozen")
    fx_day = models.DateField(null=True, blank=True, help_text="of the rate")
    fx_source = models.CharField(max_length=120, blank=True, default="", help_text="of the rate")
    record_count = models.BigIntegerField(help_text="rows of the ledger")
    request_count = models.BigIntegerField(
        default=0, help_text="requests, as billing/ledger/measures.py counts them"
    )
    exact_usd = AmountField(help_text="the ledger's sum")
    rounding = AmountField(help_text="what the printed lines lack of the total")
    total = AmountField()
    tax = AmountField(default=0, help_text="on the total, in the statement's currency")
    terms = models.JSONField(
        default=dict, blank=True, help_text="who asks whom, with which tax, until when; as issued"
    )
    certainty = models.JSONField(
        default=dict,
        blank=True,
        help_text="how sure the sum was by then: exact, estimated, unread, with bounds",
    )
    previous_digest = models.CharField(max_length=64, blank=True, default="")
    content_version = models.SmallIntegerField(default=1, help_text="how content_digest reads the lines")
    day_digests = models.JSONField(help_text="sha256 and count of the month's rows, by UTC day")
    content_digest = models.CharField(max_length=64, help_text="sha256 over the lines and the files' digests")
    receipts = models.JSONField(
        default=dict,
        blank=True,
        help_text="root and size of the tree of the month's rows, which receipts lead to",
    )
    certificate = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="sha256 of the certificate's text"
    )
    digest = models.CharField(max_length=64, help_text="sha256 over all of this and the digest before")
    issued_at = models.DateTimeField()
    issued_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    forced_reason = models.TextField(
        blank=True, default="", help_text="why it was closed before its time, or with calls still open"
    )

    class Meta:
        ordering = ("tenant", "-number")
        constraints = (
            models.UniqueConstraint(fields=("tenant", "number"), name="statement_number_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="statement_number_from_one"),
            # Statements that are older than their issuer's count keep the number that they have.
            models.UniqueConstraint(fields=("issuer", "serial"), name="statement_serial_unique"),
            models.UniqueConstraint(
                fields=("issuer", "code"), condition=Q(serial__isnull=False), name="statement_code_unique"
            ),
        )

    def __str__(self) -> str:
        return f"{self.tenant} {self.code}"


class StatementLine(models.Model):
    """One line: a meter at a price, for a cost centre, a user, a key and a model."""

    class Category(models.TextChoices):
        USAGE = "usage", "usage"
        CORRECTION = "correction", "correction"
        CREDIT = "credit", "credit"
        ADJUSTMENT = "adjustment", "adjustment"
        COMMITMENT = "commitment", "minimum commitment"
        ROUNDING = "rounding", "rounding"

    statement = models.ForeignKey(Statement, on_delete=models.PROTECT, related_name="lines")
    line_no = models.IntegerField()
    category = models.CharField(max_length=10, choices=Category)
    charge_class = models.CharField(max_length=10, blank=True, default="")
    charge_month = models.CharField(
        max_length=7, blank=True, default="", help_text="of a correction: the month it belongs to"
    )
    cost_center = models.TextField(blank=True, default="")
    user_id = models.TextField(blank=True, default="")
    key_id = models.BigIntegerField(null=True)
    key_name = models.TextField(blank=True, default="")
    provider = models.TextField(blank=True, default="")
    model = models.TextField(blank=True, default="")
    processing = models.TextField(blank=True, default="")
    meter = models.TextField(blank=True, default="")
    quantity = models.BigIntegerField(default=0)
    unit = models.CharField(max_length=20, blank=True, default="")
    per = models.IntegerField(default=1)
    unit_price = UnitPriceField(null=True)
    exact_usd = AmountField()
    amount = AmountField(help_text="in the statement's currency, four places finer than that")
    text = models.TextField(blank=True, default="", help_text="of a credit or adjustment: its reason")
    certainty = models.CharField(max_length=9, blank=True, default="", help_text="exact, estimated or unread")

    class Meta:
        ordering = ("statement", "line_no")
        constraints = (
            models.UniqueConstraint(fields=("statement", "line_no"), name="statement_line_unique"),
        )

    def __str__(self) -> str:
        return f"{self.statement_id} {self.line_no}: {self.amount}"


class StatementFile(models.Model):
    """A file of a closed month, handed out byte for byte as it was made. Its content is in the storage of files."""

    statement = models.ForeignKey(Statement, on_delete=models.PROTECT, related_name="files")
    format = models.CharField(max_length=20)
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=100)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField(null=True)
    location = models.CharField(max_length=200, blank=True, default="", help_text="in the storage of files")
    is_sealed = models.BooleanField(
        default=True,
        help_text="part of the statement's digest; the others are made of the closed ledger after it",
    )
    content = models.BinaryField(null=True, help_text="of files that are older than their storage")

    class Meta:
        ordering = ("statement", "format")
        constraints = (
            models.UniqueConstraint(fields=("statement", "format"), name="statement_file_unique"),
            models.CheckConstraint(
                condition=Q(content__isnull=True) ^ Q(location=""), name="statement_file_has_a_place"
            ),
        )

    def __str__(self) -> str:
        return self.name


class ReceiptTree(models.Model):
    """The tree of a closed month's rows, as far as it is kept: see `billing/months/proofs/planting.py`."""

    statement = models.OneToOneField(Statement, on_delete=models.PROTECT, related_name="tree")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    period = models.OneToOneField(BillingPeriod, on_delete=models.PROTECT, related_name="+")
    code = models.CharField(max_length=40)
    row_count = models.BigIntegerField()
    root = models.CharField(max_length=64)
    chunks = models.BinaryField(help_text="each 1,024 rows: the first one and their hash")

    def __str__(self) -> str:
        return f"{self.code}: {self.row_count} rows"


class Certificate(models.Model):
    """What is certified of a closed month, word for word: see `billing/months/certificates`."""

    statement = models.OneToOneField(
        Statement, primary_key=True, on_delete=models.PROTECT, related_name="certified"
    )
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    text = models.TextField()

    def __str__(self) -> str:
        return f"certificate of {self.statement.code}"


class CertificateAnnex(models.Model):
    """The amounts of the providers' bills that a certificate has only shares of. Not for tenants."""

    statement = models.OneToOneField(
        Statement, primary_key=True, on_delete=models.PROTECT, related_name="annex"
    )
    text = models.TextField()

    class Meta:
        verbose_name_plural = "certificate annexes"

    def __str__(self) -> str:
        return f"annex to {self.statement.code}"
