"""The queue before the embedder: in turns, in small groups, and never longer than what a request would wait for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching.embedders.base import MAX_TOKENS, SHARED_TOKENS
from caching.embedders.waiting import (
    MOST_TOKENS,
    MOST_TOKENS_OF_TENANT,
    QueueFull,
    WaitingText,
    WaitingTexts,
)


def text(tenant_id: int, name: str, tokens: int = 10) -> WaitingText:
    return WaitingText((tenant_id, name.encode()), name, tokens)


def names(group: list[WaitingText]) -> str:
    return "".join(waiting.text for waiting in group)


def filled(*texts: WaitingText, group_texts: int = 8) -> WaitingTexts:
    queue = WaitingTexts(group_texts=group_texts)
    for waiting in texts:
        queue.add(waiting)
    return queue


def test_it_works() -> None:
    queue = filled(text(1, "a"), text(1, "b"))
    assert len(queue) == 2
    assert names(queue.take()) == "ab"
    assert queue.take() == []
    assert len(queue) == 0


def test_tenants_take_turns() -> None:
    queue = filled(*(text(1, name) for name in "abcdef"), text(2, "x"), text(3, "y"), group_texts=4)
    assert names(queue.take()) == "axyb"
    assert names(queue.take()) == "cdef"


def test_a_short_text_waits_for_one_long_one_at_most() -> None:
    queue = filled(*(text(1, name, MAX_TOKENS) for name in "ABC"), text(2, "x"), text(2, "y"), group_texts=1)
    assert [names(queue.take()) for _ in range(5)] == ["x", "A", "y", "B", "C"]


def test_a_long_text_is_computed_alone() -> None:
    queue = filled(text(1, "A", SHARED_TOKENS + 1), text(2, "B", SHARED_TOKENS + 1))
    assert [names(queue.take()) for _ in range(2)] == ["A", "B"]


def test_a_tenant_fills_its_own_place_only() -> None:
    queue = filled(*(text(1, name, MAX_TOKENS) for name in "ABC"))
    with pytest.raises(QueueFull, match="tenant"):
        queue.add(text(1, "D", 1))
    queue.add(text(2, "x"))
    assert names(queue.take()) == "x"


def test_the_queue_is_bounded_in_all() -> None:
    tenants = MOST_TOKENS // MOST_TOKENS_OF_TENANT
    queue = filled(*(text(tenant, name, MAX_TOKENS) for tenant in range(tenants) for name in "ABC"))
    with pytest.raises(QueueFull, match="too many texts wait"):
        queue.add(text(tenants, "x", 1))
    queue.take()
    queue.add(text(tenants, "x", 1))


def test_what_nobody_wants_any_more_leaves() -> None:
    gone = text(1, "a")
    queue = filled(gone, text(1, "b"))
    assert queue.leave(gone)
    assert not queue.leave(gone)
    assert names(queue.take()) == "b"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, MAX_TOKENS)), max_size=80), st.integers(1, 16))
def test_every_text_that_was_let_in_comes_out_once(texts: list[tuple[int, int]], group_texts: int) -> None:
    queue = WaitingTexts(group_texts=group_texts)
    let_in = []
    for number, (tenant_id, tokens) in enumerate(texts):
        waiting = text(tenant_id, str(number), tokens)
        try:
            queue.add(waiting)
        except QueueFull:
            continue
        let_in.append(waiting)
    groups = []
    while group := queue.take():
        groups.append(group)
        assert len(group) <= group_texts
        assert sum(waiting.tokens for waiting in group) <= MAX_TOKENS
    assert sorted(waiting.text for group in groups for waiting in group) == sorted(
        waiting.text for waiting in let_in
    )
    queue.add(text(1, "the room is free again", MAX_TOKENS))
