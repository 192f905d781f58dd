"""Which columns each version of FOCUS has, with their types.

Invariant: the columns of a version stand in the order of its specification, our own (`x_`) last. A column that the rows do not
know is null throughout: versions before 1.2 want it to be there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from billing.months.exports.focus.invoices import billing_periods, invoice_details
from billing.months.exports.focus.rows import charges
from billing.months.parts import MonthReport

DEFAULT: Final = "1.2"  # what most tools import today
_AMOUNTS: Final = (
    *("BilledCost", "ConsumedQuantity", "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost"),
    *("ListUnitPrice", "PaymentCurrencyBilledCost", "PricingCurrencyContractedUnitPrice"),
    *("PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice", "PricingQuantity", "x_Saving"),
)
_MOMENTS: Final = (
    *("BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated", "BillingPeriodStart"),
    *("ChargePeriodEnd", "ChargePeriodStart", "InvoiceDetailCreated", "InvoiceDetailLastUpdated"),
    *("InvoiceIssueDate", "PaymentDueDate"),
)
TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(_AMOUNTS, Decimal),
    **dict.fromkeys(_MOMENTS, datetime),
    "x_Requests": int,
}

_ALWAYS: Final = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency"),
    *("ChargePeriodEnd", "ChargePeriodStart", "CommitmentDiscountStatus", "ConsumedQuantity", "ConsumedUnit"),
    *("ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost"),
    *("ListUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ServiceCategory", "ServiceName"),
    *("SkuId", "SkuPriceId", "SubAccountId", "SubAccountName", "Tags"),
)
_SINCE_1_2: Final = (
    *("InvoiceId", "PricingCurrency", "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost"),
    *("PricingCurrencyListUnitPrice", "ServiceSubcategory", "SkuMeter", "SkuPriceDetails"),
)
_UNTIL_1_3: Final = ("ProviderName", "PublisherName")
_SINCE_1_3: Final = ("HostProviderName", "ServiceProviderName")
# What 1.0 asks for of everyone, and we have none of.
_ONLY_1_0: Final = (
    *("AvailabilityZone", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName"),
    *("CommitmentDiscountType", "RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType"),
)
# The published validator of 1.0 looks for some columns under names of its own.
SPELLINGS: Final = {
    "InvoiceIssuer": "InvoiceIssuerName",
    "Provider": "ProviderName",
    "Publisher": "PublisherName",
    "ResourceID": "ResourceId",
}
_OURS: Final = (
    *("x_Certainty", "x_ConsumerId", "x_CostCenter", "x_CredentialDetails", "x_CredentialId", "x_ExactTexts"),
    *("x_Feature", "x_MissingTags", "x_PrincipalId", "x_Project", "x_Reason", "x_Requests", "x_Saving"),
    *("x_SplitRule", "x_SplitShares", "x_UsageSource"),
)
_PERIOD: Final = (
    *("BillingPeriodCreated", "BillingPeriodEnd", "BillingPeriodLastUpdated", "BillingPeriodStart"),
    *("BillingPeriodStatus", "InvoiceIssuerName"),
)
_INVOICE: Final = (
    *("BilledCost", "BillingAccountId", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *("ChargeCategory", "InvoiceDetailCreated", "InvoiceDetailDescription", "InvoiceDetailGrain"),
    *("InvoiceDetailId", "InvoiceDetailLastUpdated", "InvoiceId", "InvoiceIssueDate", "InvoiceIssueStatus"),
    *("InvoiceIssuerName", "PaymentCurrency", "PaymentCurrencyBilledCost", "PaymentDueDate", "PaymentTerms"),
    *("PurchaseOrderNumber", "ReferenceInvoiceId"),
)


@dataclass(frozen=True, slots=True)
class DataSet:
    """One file of a version: its rows, and its columns in order."""

    name: str
    suffix: str
    columns: tuple[str, ...]
    rows: Callable[[MonthReport], Iterator[Mapping[str, Any]]]
    is_exact: bool = True  # its amounts in Parquet are decimals, not floats

    @property
    def types(self) -> Mapping[str, type]:
        """The types of its columns that are no texts."""
        return TYPES if self.is_exact else TYPES | dict.fromkeys(_AMOUNTS, float)


def _charges(version: str, *columns: tuple[str, ...], others: tuple[str, ...] = ()) -> DataSet:
    named = sorted((name for group in columns for name in group), key=str.lower)
    suffix = "" if version == DEFAULT else f"-{version}"
    # what reads 1.0, its validator first, knows amounts as floats only
    return DataSet(f"FOCUS {version}", suffix, (*named, *others, *_OURS), charges, is_exact=version != "1.0")


PROFILES: Final[Mapping[str, tuple[DataSet, ...]]] = {
    "1.0": (_charges("1.0", _ALWAYS, _UNTIL_1_3, _ONLY_1_0, others=tuple(SPELLINGS)),),
    "1.2": (_charges("1.2", _ALWAYS, _SINCE_1_2, _UNTIL_1_3),),
    "1.3": (_charges("1.3", _ALWAYS, _SINCE_1_2, _UNTIL_1_3, _SINCE_1_3),),
    # Cost and Usage comes last: it is the file that is named last
    "1.4": (
        DataSet("FOCUS 1.4 Billing Period", "-1.4.billing-period", _PERIOD, billing_periods),
        DataSet("FOCUS 1.4 Invoice Detail", "-1.4.invoice-detail", _INVOICE, invoice_details),
        _charges("1.4", _ALWAYS, _SINCE_1_2, _SINCE_1_3, ("InvoiceDetailId",)),
    ),
}
