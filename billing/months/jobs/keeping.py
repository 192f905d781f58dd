"""How long the files of reports are kept.

Invariant: the files of a closed month belong to its statement and stay; what is removed here can be asked for again.
"""

from datetime import datetime, timedelta
from typing import Final

from django.utils.timezone import now

from billing.models import MonthJob
from billing.months.jobs.asking import OPEN
from billing.months.jobs.working import PLATFORM
from tenants import contents

KEPT_FOR: Final = timedelta(days=14)
CHUNK: Final = 500


def forget_old(at: datetime | None = None) -> int:
    """Remove the jobs that ended long ago, with their files; how many."""
    before = (at or now()) - KEPT_FOR
    old = MonthJob.objects.exclude(state__in=OPEN).filter(finished_at__lt=before).order_by("created_at")
    jobs = list(old[:CHUNK])
    for job in jobs:
        for file in job.files.all():
            contents.remove(file.tenant_id or PLATFORM, file.location)
        job.delete()
    return len(jobs)
