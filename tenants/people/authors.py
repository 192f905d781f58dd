"""Who is named as the author of a change."""

from django.contrib.auth.models import AbstractBaseUser


def record_author(row: object, *, acting_user: AbstractBaseUser | None, reason: str) -> None:
    """Set author and reason of the row's next history entry, and so of its entry in the audit log."""
    row._history_user = acting_user  # type: ignore[attr-defined]
    row._change_reason = reason[:100]  # type: ignore[attr-defined]
