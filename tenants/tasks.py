"""What Celery does for tenants and people."""

from celery import shared_task

from tenants.people import audit


@shared_task
def prune_audit() -> int:
    """Delete what the audit log may forget."""
    return audit.prune()
