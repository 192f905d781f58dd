"""The base of all tasks: which failures are tried again, and when.

Invariant: only what may go better later is tried again, each time after a longer pause with chance in it. A task that beat sends
every few minutes is not: the next run does its work.
"""

from typing import Any, Final

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError

MOST_RETRIES: Final = 5
FIRST_PAUSE_SECONDS: Final = 10
LONGEST_PAUSE_SECONDS: Final = 600


class RetriedTask(Task):  # type: ignore[misc]
    """A task whose passing failures are tried again."""

    autoretry_for = (DatabaseError, InterfaceError, OSError, SoftTimeLimitExceeded)
    max_retries = MOST_RETRIES
    retry_backoff = FIRST_PAUSE_SECONDS
    retry_backoff_max = LONGEST_PAUSE_SECONDS
    retry_jitter = True


NOT_RETRIED: Final[dict[str, Any]] = {"max_retries": 0}
