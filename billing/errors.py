"""What can go wrong with money: errors for clients, and errors for us alone.

Invariant: one class per outcome; an error for a client names the limit, its owner and when it resets.
"""

from tenants.errors import ClientError


class ModelUnpriced(ClientError):
    """The model has no price: it is never called."""

    status, code, type = 402, "model_unpriced", "billing_error"


class LedgerUnavailable(ClientError):
    """PostgreSQL does not answer: nothing is admitted that could not be written down."""

    status, code, type = 503, "service_unavailable", "api_error"

    def __init__(self, message: str = "The ledger is not available at the moment; try again.") -> None:
        super().__init__(message, retry_after_seconds=2)


class Stalled(LedgerUnavailable):
    """A statement waited or ran longer than it may, because of another one. Nothing of it was done."""


class InvalidUsage(ValueError):
    """A usage block contradicts itself, or says nothing. It is not billed as it is."""


class UnpricedMeter(ModelUnpriced):
    """The model is priced, but not in the way it is or would be used."""
