"""Celery's processes, Redis and web workers killed at random points under batches of both kinds and deferred calls.

`make chaos` runs the same with BATCH_KILLS=100 and prints what it found.
"""

import os
import random
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.books import eventually
from tests.chaos.batch_audit import BatchAudit, audit, open_work, read_files
from tests.chaos.batch_load import BatchLoad
from tests.chaos.harness import Site, site

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("BATCH_KILLS", "8"))
PATIENCE_SECONDS = 180
# what a lost worker leaves is taken up after a minute; that minute need not be waited for
PASS_TIME = """
UPDATE llm_deferredjob SET leased_until = now() - interval '1 second' WHERE status = 'running' AND item_id IS NULL;
UPDATE llm_deferredjob SET created_at = created_at - interval '10 minutes' WHERE status = 'accepting';
UPDATE llm_batchjob SET submitting_at = submitting_at - interval '2 minutes' WHERE state = 'submitting';
UPDATE llm_batchjob SET next_look_at = NULL WHERE state <> 'finished';
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("batch-chaos")) as place:
        place.open()
        place.start_celery()
        yield place


def test_it_works(place: Site) -> None:
    """Whatever is killed: each line is submitted once, settled once, and in one file."""
    chance = random.Random(KILLS)
    victims = [
        lambda: place.kill_of_celery(chance, what="task"),
        lambda: place.kill_of_celery(chance, what="task"),
        lambda: place.kill_of_celery(chance, what="worker"),
        lambda: place.kill_of_celery(chance, what="everything"),
        place.kill_redis,
        place.flush_redis,
        lambda: place.kill_a_worker(chance),
    ]
    with BatchLoad(place) as load:
        eventually(load.taken, until=lambda taken: taken > 5, patience_seconds=60)
        for number in range(KILLS):
            victims[number % len(victims)]()
            wanted = load.taken() + 3
            eventually(load.taken, until=lambda taken, wanted=wanted: taken >= wanted, patience_seconds=60)
            time.sleep(chance.uniform(0, 1))
    lose_everything(place)
    eventually(lambda: open_work(place), until=lambda left: left == (0, 0), patience_seconds=PATIENCE_SECONDS)
    files = read_files(load)
    place.come_to_rest()
    found = audit(place, load, files)
    print_table(place, load, found)
    assert found.faults == []
    assert found.batch_calls > 20
    assert found.rows_of_files > 20
    assert place.destroyed.total() > KILLS


def lose_everything(place: Site) -> None:
    """Kill all of Celery in the middle of its work, let the time pass that a lost worker is waited for, and start it again."""
    assert place.workers_of_celery
    place.kill_of_celery(random.Random(0), what="everything")
    place.workers_of_celery.stop()
    place.reap()
    with psycopg.connect(place.postgres.url) as connection:
        connection.execute(PASS_TIME)
    place.start_celery()


def print_table(place: Site, load: BatchLoad, found: BatchAudit) -> None:
    lines: list[tuple[str, object]] = [*place.destroyed.items()]
    lines += [(f"answers that clients did not get: {name}", count) for name, count in load.broken.items()]
    lines += [(f"batches {status}", count) for status, count in found.batches.items()]
    lines += [(f"lines {status}", count) for status, count in found.lines.items()]
    lines += [(f"deferred calls {status}", count) for status, count in found.jobs.items()]
    lines += [("lines the provider ran", found.batch_calls), ("calls in real time", found.online_calls)]
    lines += [("rows of the ledger", found.records), ("rows of output and error files", found.rows_of_files)]
    lines += [(f"booked as estimate: {reason}", count) for reason, count in found.estimated.items()]
    lines += [("our ledger, USD", found.billed_usd), ("faults", len(found.faults))]
    print("\n" + "\n".join(f"{name:<55}{value!s:>16}" for name, value in lines))
