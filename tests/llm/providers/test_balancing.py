"""Which account is asked: by weight, by how well it does, and always the same for the same key."""

from collections import Counter

import pytest

from config.breaker import BreakerPolicy
from llm.providers.balancing import Candidate, in_order, key_of
from llm.providers.errors import ProviderError, ProviderUnavailable
from llm.providers.health import Health
from llm.providers.kinds import KINDS
from llm.providers.target import Target
from llm.providers.track_record import LEAST_WORTH, TrackRecord

KEYS = [f"request-{number}" for number in range(4000)]


def target(name: str, weight: float = 1.0) -> Target:
    return Target(
        model="m", provider=name, kind=KINDS["openai"], base_url="", api_key="", upstream="m", weight=weight
    )


def firsts(*candidates: Candidate) -> dict[str, str]:
    return {key: in_order(candidates, key=key)[0].target.provider for key in KEYS}


def shares(*candidates: Candidate) -> dict[str, float]:
    return {name: count / len(KEYS) for name, count in Counter(firsts(*candidates).values()).items()}


def test_it_works() -> None:
    found = shares(Candidate(target("a", 3)), Candidate(target("b", 1)), Candidate(target("c", 0)))
    assert found == pytest.approx({"a": 0.75, "b": 0.25}, abs=0.02)


def test_the_same_key_gives_the_same_order_whatever_the_order_of_the_accounts() -> None:
    candidates = [Candidate(target(name)) for name in "abcd"]
    for key in KEYS[:50]:
        assert in_order(candidates, key=key) == in_order(reversed(candidates), key=key)


def test_an_account_that_is_worth_less_gives_calls_away_and_no_other_call_moves() -> None:
    before = firsts(*[Candidate(target(name)) for name in "abc"])
    after = firsts(Candidate(target("a"), 0.2), *[Candidate(target(name)) for name in "bc"])
    moved = {key for key in KEYS if before[key] != after[key]}
    assert {before[key] for key in moved} == {"a"}
    assert {after[key] for key in moved} == {"b", "c"}
    assert Counter(after.values())["a"] / len(KEYS) == pytest.approx(0.2 / 2.2, abs=0.02)


def test_accounts_without_worth_come_last() -> None:
    candidates = [Candidate(target("a"), 0.0), Candidate(target("b", 0)), Candidate(target("c"), 0.05)]
    assert [one.target.provider for one in in_order(candidates, key="any")] == ["c", "a", "b"]


def test_a_long_conversation_stays_where_its_beginning_is_cached() -> None:
    facts = {"tenant_id": 7, "system": "You are kind.", "opening": "Hello!"}
    assert key_of(**facts, request_id="1", length=5000) == key_of(**facts, request_id="2", length=9000)
    assert key_of(**facts, request_id="1", length=400) != key_of(**facts, request_id="2", length=400)
    other = {**facts, "tenant_id": 8}
    assert key_of(**facts, request_id="1", length=5000) != key_of(**other, request_id="1", length=5000)


class TestStanding:
    def test_it_works(self) -> None:
        assert TrackRecord().worth(0.0, best_seconds=None, streamed=False) == 1.0

    def test_failures_make_it_worth_less_and_are_forgotten(self) -> None:
        record = TrackRecord()
        for _ in range(3):
            record = record.failed(100.0)
        lately = record.worth(100.0, best_seconds=None, streamed=False)
        assert LEAST_WORTH < lately < 0.3
        assert record.worth(130.0, best_seconds=None, streamed=False) > lately
        assert record.worth(1000.0, best_seconds=None, streamed=False) == pytest.approx(1.0)

    def test_a_slower_one_is_worth_less_in_proportion(self) -> None:
        record = TrackRecord()
        for _ in range(20):
            record = record.answered(0.0, seconds=3.0, streamed=True)
        assert record.worth(0.0, best_seconds=1.0, streamed=True) == pytest.approx(0.5)
        assert record.worth(0.0, best_seconds=2.5, streamed=True) == 1.0  # no slower than is usual
        # whole answers are another matter
        assert record.worth(0.0, best_seconds=1.0, streamed=False) == 1.0

    def test_one_slow_call_says_nothing(self) -> None:
        assert TrackRecord().answered(0.0, seconds=60.0, streamed=True).seconds(streamed=True) is None

    def test_a_pause_that_the_provider_asks_for_is_kept(self) -> None:
        record = TrackRecord().avoided(50.0).avoided(20.0)
        assert record.worth(49.0, best_seconds=None, streamed=False) == 0.0
        assert record.worth(50.0, best_seconds=None, streamed=False) == 1.0


class TestHealth:
    def test_it_works(self) -> None:
        now = [100.0]
        health = Health(policy=BreakerPolicy(failures=3), clock=lambda: now[0])
        good, bad, limited = target("good"), target("bad"), target("limited")
        for _ in range(5):
            with health.watch(good):
                now[0] += 1.0
        for _ in range(3):
            with pytest.raises(ProviderError), health.watch(bad):
                raise ProviderError("no")
        with pytest.raises(ProviderUnavailable), health.watch(limited):
            raise ProviderUnavailable("slow down", upstream_status=429, retry_after=10.0)
        found = {
            one.target.provider: one.worth for one in health.candidates([good, bad, limited], streamed=False)
        }
        assert found == {"good": 1.0, "bad": 0.0, "limited": 0.0}
        now[0] += 10.0
        worth = {
            one.target.provider: one.worth for one in health.candidates([good, bad, limited], streamed=False)
        }
        assert worth["good"] == 1.0
        assert 0.5 < worth["limited"] < 1.0
