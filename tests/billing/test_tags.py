"""Callers bring along so many tags and no more, and runs keep the tags that were said first."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from billing.allocation import admitting, run_tags
from billing.models import RunTags, TagValue
from billing.runs.opening import Owner
from tests.billing.shop import Shop
from tests.orm import in_thread

AT = datetime(2026, 11, 5, 12, tzinfo=UTC)
FEW = {"most_names": 2, "most_values": 3}
ALICE, BOB = Owner("user/alice", ""), Owner("user/bob", "")


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """As another worker, which knows nothing yet."""
    forget()


def forget() -> None:
    for known in (admitting._admitted, admitting._refused, run_tags._known, run_tags._absent):
        known.clear()


async def admit(shop: Shop, at: datetime = AT, **tags: str) -> dict[str, str]:
    return await admitting.admitted(shop.tenant.pk, tags, at=at, **FEW)


async def test_it_works(shop: Shop, loop_resources: None) -> None:
    """Each value of each name up to the limits; what comes after is counted together, for every worker."""
    for number in range(3):
        assert await admit(shop, ticket=f"T-{number}") == {"ticket": f"T-{number}"}
    assert await admit(shop, ticket="T-3") == {"ticket": "(other)"}
    assert await admit(shop, env="prod", color="red") == {"env": "prod", "(other)": "(other)"}
    forget()
    assert await admit(shop, ticket="T-3", env="prod", color="red") == {
        "ticket": "(other)",
        "env": "prod",
        "(other)": "(other)",
    }
    assert await admit(shop, ticket="T-1") == {"ticket": "T-1"}
    rows = await in_thread(lambda: TagValue.objects.filter(tenant=shop.tenant).count())
    assert rows == 4


async def test_another_month_begins_anew_and_old_ones_are_forgotten(shop: Shop, loop_resources: None) -> None:
    for number in range(3):
        await admit(shop, ticket=f"T-{number}")
    later = AT.replace(year=2027, month=2)
    assert await admit(shop, at=later, ticket="T-9") == {"ticket": "T-9"}
    months = await in_thread(
        lambda: set(TagValue.objects.filter(tenant=shop.tenant).values_list("month", flat=True))
    )
    assert months == {"2027-02"}


async def test_an_empty_value_names_nothing(shop: Shop, loop_resources: None) -> None:
    assert await admit(shop, repo="", branch="") == {}


async def of_run(shop: Shop, owner: Owner, run: str, **said: str) -> dict[str, str]:
    found = await run_tags.of_run(shop.tenant.pk, owner, run, said=said, at=datetime.now(UTC), hours=1)
    return dict(found)


async def test_a_run_keeps_its_first_tags(shop: Shop, loop_resources: None) -> None:
    """For its owner alone, and for every worker."""
    run = uuid4().hex
    assert await of_run(shop, ALICE, run) == {}
    assert await of_run(shop, ALICE, run, project="apollo") == {"project": "apollo"}
    forget()
    assert await of_run(shop, ALICE, run) == {"project": "apollo"}
    assert await of_run(shop, ALICE, run, project="gemini") == {"project": "apollo"}
    assert await of_run(shop, BOB, run) == {}


async def test_an_owner_has_so_many_runs_with_tags(
    shop: Shop, loop_resources: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest one's are forgotten."""
    monkeypatch.setattr(run_tags, "MOST_RUNS", 2)
    for number in range(4):
        await of_run(shop, ALICE, f"run-{number}", project="apollo")
    await of_run(shop, BOB, "run-0", project="apollo")
    kept = await in_thread(
        lambda: sorted(RunTags.objects.filter(tenant=shop.tenant).values_list("owner", "run"))
    )
    assert kept == [("user/alice", "run-2"), ("user/alice", "run-3"), ("user/bob", "run-0")]
