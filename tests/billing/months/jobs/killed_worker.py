"""A worker that is killed again and again at another place of the same job: `python -m ... JOB PLACE COUNT...`.

PLACE is `step` (before it) or `save` (after a file's content is stored, before its row is). Each count is of a worker of its own,
which is killed when it comes there for that time; the last one is repeated until a worker comes to the end. Prints how many were
killed.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import django

MOST = 40


def main() -> None:
    job_id, place, *counts = sys.argv[1:]
    django.setup()
    for killed, count in enumerate(_counts([int(count) for count in counts])):
        pid = os.fork()
        if not pid:
            _work(job_id, place, count)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            print(killed)
            sys.exit(os.waitstatus_to_exitcode(status))
    sys.exit("the job does not end")


def _counts(counts: list[int]) -> Iterator[int]:
    endless = chain(counts, repeat(counts[-1]))
    return (next(endless) for _ in range(MOST))


def _work(job_id: str, place: str, count: int) -> None:
    from datetime import timedelta

    from django.utils.timezone import now

    from billing.models import MonthJob
    from billing.months.jobs import working
    from billing.months.jobs.pulse import Pulse
    from tenants import contents

    left = iter(range(count - 1))

    def killing(function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            answer = function(*arguments, **options) if after else None
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer if after else function(*arguments, **options)

        return call

    working.MOST_TRIES = MOST  # type: ignore[misc]
    MonthJob.objects.filter(pk=job_id, state="running").update(leased_until=now() - timedelta(seconds=1))
    others = MonthJob.objects.exclude(pk=job_id).filter(state="queued")
    others.update(state="failed", finished_at=now())
    if place == "step":
        Pulse.told = killing(Pulse.told, after=False)  # type: ignore[method-assign]
    else:
        contents.save = killing(contents.save, after=True)
    job = working.work_next()
    if job is None or str(job.pk) != job_id or job.state != "done":
        sys.stderr.write(f"{job} {job.error if job else ''}\n")
        os._exit(1)


if __name__ == "__main__":
    main()
