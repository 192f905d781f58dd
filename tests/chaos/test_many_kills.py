"""Web workers killed at random points under load, again and again; then everything else, too.

`make chaos` runs the same with KILLS=500 and prints what it found.
"""

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.chaos.audit import Audit, audit
from tests.chaos.harness import Load, Site, site

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "20"))
# a site without its servers, or a model that is given a rest because others asked for what is no answer
REFUSED_FOR_NOW = {"", "service_unavailable", "provider_unavailable"}
ENOUGH = min(KILLS, 5)
# no more kills than enough after this: a slow machine proves less, it does not fail
SECONDS = float(os.environ.get("CHAOS_SECONDS", "30"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("chaos")) as place:
        yield place


@pytest.fixture
def running(place: Site) -> Site:
    place.open()
    place.destroyed.clear()
    return place


def test_it_works(running: Site) -> None:
    """Kills of workers alone."""
    chance = random.Random(KILLS)
    until = time.monotonic() + SECONDS
    with Load(running) as load:
        load.wait_for_answers(50)
        while (kills := running.destroyed["web worker killed"]) < KILLS:
            if kills >= ENOUGH and time.monotonic() > until:
                break
            running.kill_a_worker(chance)
            load.wait_for_answers(8)  # a site that lies still is no proof
            time.sleep(chance.uniform(0, 0.5))
        load.wait_for_answers(20)
    found = check(running, load)
    assert running.destroyed["web worker killed"] >= ENOUGH
    assert found.by_figures > 50
    assert found.of_other_servers > 5
    # on a machine without time a worker that has just begun turns calls away early; it says so, and nothing is owed
    assert {told.status for told in load.told if not told.is_odd} <= {-1, 0, 200, 503}
    assert {told.code for told in load.told if not told.is_odd} <= REFUSED_FOR_NOW


def test_everything_may_die_in_the_same_minute(running: Site) -> None:
    """PostgreSQL, Redis and workers."""
    chance = random.Random(KILLS)
    with Load(running) as load:
        for _ in range(max(2, KILLS // 25)):
            load.wait_for_answers(40)
            running.flush_redis()
            load.wait_for_answers(20)
            running.kill_postgres()
            running.kill_a_worker(chance)
            load.wait_for_answers(20)
            running.kill_redis()
            running.kill_a_worker(chance)
        load.wait_for_answers(20)
    found = check(running, load)
    assert found.by_figures > 100
    # without PostgreSQL calls are refused; without Redis they are not
    assert {told.code for told in load.told if not told.is_odd} <= REFUSED_FOR_NOW


def check(running: Site, load: Load) -> Audit:
    """Come to rest, reap, audit twice: the second time nothing may have changed."""
    running.come_to_rest()
    running.reap()
    found = audit(running, load)
    print_table(running, load, found)
    assert found.faults == []
    running.reap()
    assert audit(running, load) == found
    return found


def print_table(running: Site, load: Load, found: Audit) -> None:
    statuses = {200: "answered", 0: "broken off", -1: "hung up by the client", 503: "refused for now"}
    lines = [*running.destroyed.items()]
    for status, name in statuses.items():
        lines.append((f"calls {name}", sum(told.status == status for told in load.told)))
    lines.append(("calls the provider had", found.calls))
    lines.append(("of these as other servers answer", found.of_other_servers))
    lines.append(("booked by the provider's figures", found.by_figures))
    lines += [(f"booked as estimate: {reason}", count) for reason, count in found.estimated.items()]
    lines += [(f"voided: {reason}", count) for reason, count in found.voided.items()]
    lines += [("the provider's invoice, USD", found.invoice_usd), ("our ledger, USD", found.billed_usd)]
    lines += [("estimates below the invoice, USD", found.short_by_usd), ("faults", len(found.faults))]
    print("\n" + "\n".join(f"{name:<55}{value:>16}" for name, value in lines))
