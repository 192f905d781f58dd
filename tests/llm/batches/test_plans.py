"""What becomes of lines before any is sent: from memory, led by an equal one, routed, compressed."""

from decimal import Decimal
from typing import Any

import pytest

from billing.models import Attempt, UsageRecord
from llm.batches.driver import drive
from llm.models import Batch, BatchItem, BatchJob
from tests.api.caches.test_caching import PARAPHRASE, QUESTION
from tests.llm.batches.conftest import Desk, question
from tests.llm.batches.test_batches import BUDGET, billed_upstream, records_of, windows_of


def ask(desk: Desk, text: str, **body: Any) -> Any:
    """The same question live."""
    return desk.client.chat.completions.create(**question("x", text, **body)["body"])


def states(desk: Desk) -> dict[str, int]:
    """The tenant's ledger rows by what the cache did."""
    found: dict[str, int] = {}
    for state in records_of(desk).values_list("cache_state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def test_it_works(desk_for):
    """One line is in memory, two are equal, one is alone: two are sent, and all four are answered."""
    desk = desk_for(budgets=[BUDGET])
    known = ask(desk, "What is 40 plus 2?")
    order = desk.order(
        [
            question("known", "What is 40 plus 2?"),
            question("first", "What is 7 plus 7?"),
            question("alone", "What is 9 plus 9?"),
            question("equal", "What is 7 plus 7?", user="somebody"),
        ]
    )
    batch = desk.wait(order.id)

    assert batch.request_counts.model_dump() == {"total": 4, "completed": 4, "failed": 0}
    answers = {name: row["response"]["body"] for name, row in desk.read(batch.output_file_id).items()}
    told = {name: body["choices"][0]["message"]["content"] for name, body in answers.items()}
    assert told["known"] == known.choices[0].message.content
    assert told["equal"] == told["first"] != told["alone"]
    assert {name: body["purser"]["cache"] for name, body in answers.items()} == {
        "known": "exact",
        "first": "miss",
        "alone": "miss",
        "equal": "exact",
    }
    assert len(billed_upstream(desk)) == 2
    assert states(desk) == {"exact": 2, "miss": 3}
    for record in records_of(desk).filter(cache_state="exact"):
        assert (record.billed_cost, record.usage_source) == (0, "gateway_cache")
        assert record.list_cost == Decimal(record.saving["gateway_cache"]) > 0
    assert windows_of(desk).get().held == 0
    batch_cost = sum(record.billed_cost for record in records_of(desk).filter(processing="batch"))
    assert Decimal(batch.purser["cost_usd"]) == batch_cost


def test_a_batchs_answer_answers_a_later_live_call(desk_for):
    desk = desk_for()
    desk.wait(desk.order([question("a", "What is 21 plus 1?")]).id)
    live = ask(desk, "What is 21 plus 1?")
    assert live.purser["cache"] == "exact"
    assert ask(desk, "What is 21 plus 1?", temperature=1.5).purser["cache"] == "bypass"


def test_what_may_not_be_cached_is_sent_each_time(desk_for):
    desk = desk_for()
    lines = [question(f"q{number}", "What is 3 plus 3?", temperature=1.5) for number in range(3)]
    batch = desk.wait(desk.order(lines).id)
    assert batch.request_counts.completed == len(billed_upstream(desk)) == 3
    assert states(desk) == {"bypass": 3}


def test_a_tenant_without_caches_sends_every_line(desk_for):
    desk = desk_for(policy={"cache": {"exact": False, "semantic": "off"}})
    batch = desk.wait(desk.order([question(name, "What is 3 plus 3?") for name in "ab"]).id)
    assert batch.request_counts.completed == len(billed_upstream(desk)) == 2


def test_the_meaning_of_a_question_is_enough_where_the_policy_says_so(desk_for):
    desk = desk_for(policy={"cache": {"exact": True, "semantic": "static", "threshold": 0.8}})
    known = ask(desk, QUESTION)
    batch = desk.wait(desk.order([question("a", PARAPHRASE)]).id)
    (row,) = desk.read(batch.output_file_id).values()
    assert row["response"]["body"]["purser"]["cache"] == "semantic"
    assert row["response"]["body"]["choices"][0]["message"]["content"] == known.choices[0].message.content
    assert not billed_upstream(desk)
    assert not BatchJob.objects.filter(tenant_id=desk.member.id).exists()


def test_a_line_from_memory_needs_the_tags_that_the_tenant_requires(desk_for):
    """As the same call live does; and it is answered from memory with them."""
    desk = desk_for(policy={"allocation": {"required": ["ticket"], "missing": "refuse"}})
    tagged = {"x-purser-tags": "ticket=77"}
    live = question("x", "What is 40 plus 2?")["body"]
    known = desk.client.chat.completions.create(**live, extra_headers=tagged)
    bare = desk.wait(desk.order([question("known", "What is 40 plus 2?")]).id)
    assert bare.request_counts.model_dump() == {"total": 1, "completed": 0, "failed": 1}
    (row,) = desk.read(bare.error_file_id).values()
    assert "needs the tag 'ticket'" in row["response"]["body"]["error"]["message"]
    assert states(desk) == {"miss": 1}
    again = desk.wait(desk.order([question("known", "What is 40 plus 2?")], headers=tagged).id)
    (row,) = desk.read(again.output_file_id).values()
    assert row["response"]["body"]["choices"][0]["message"]["content"] == known.choices[0].message.content
    assert states(desk) == {"exact": 1, "miss": 1}


def test_equal_lines_share_the_failure_of_the_one_that_was_sent(desk_for):
    desk = desk_for(budgets=[BUDGET])
    lines = [question(name, "What is 3 plus 3?", top_p=17) for name in "abc"]
    batch = desk.wait(desk.order(lines).id)
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 0, "failed": 3}
    failures = {
        row["response"]["body"]["error"]["message"] for row in desk.read(batch.error_file_id).values()
    }
    assert len(failures) == 1
    assert Attempt.objects.filter(tenant_id=desk.member.id).count() == 1
    assert not records_of(desk).exists()
    assert windows_of(desk).get().held == 0


def test_auto_is_routed_line_by_line(desk_for):
    desk = desk_for()
    lines = [
        question("easy", "What is 2 plus 2?", model="auto:simple"),
        question("hard", "What is 2 plus 3?", model="auto:complex"),
        question("any", "Translate 'house' into French.", model="auto"),
    ]
    batch = desk.wait(desk.order(lines).id)
    assert batch.request_counts.completed == 3
    bodies = {name: row["response"]["body"] for name, row in desk.read(batch.output_file_id).items()}
    assert (bodies["easy"]["purser"]["model"], bodies["hard"]["purser"]["model"]) == (
        "gpt-4.1-nano",
        "gpt-4o",
    )
    assert bodies["any"]["purser"]["route"]["reason"]
    rows = records_of(desk).filter(processing="batch")
    assert set(rows.values_list("model_asked", flat=True)) == {"auto:simple", "auto:complex", "auto"}
    easy = rows.get(model_asked="auto:simple")
    assert set(easy.saving) >= {"batch", "routing"}
    assert easy.list_cost - sum(map(Decimal, easy.saving.values())) == easy.billed_cost


def test_a_tier_that_does_not_exist_is_a_wrong_line(desk):
    batch = desk.wait(desk.order([question("a", "Hi", model="auto:huge")]).id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "model_not_found")


def test_a_line_that_no_model_can_serve_fails_alone(desk_for):
    desk = desk_for()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    impossible = question(
        "no",
        "x",
        model="auto",
        messages=[{"role": "user", "content": [image]}],
        logprobs=True,
        modalities=["audio"],
        audio={"voice": "alloy", "format": "wav"},
    )
    batch = desk.wait(desk.order([question("yes", "What is 2 plus 2?"), impossible]).id)
    assert "yes" in desk.read(batch.output_file_id)
    assert batch.request_counts.completed + batch.request_counts.failed == 2


def test_prompts_are_compressed_where_the_policy_says_so(desk_for):
    desk = desk_for(policy={"compression": {"enabled": True}})
    wide = "Name a fruit.\n\n\n\n" + " \n" * 300 + "Only   one    word."
    batch = desk.wait(desk.order([question("a", wide)]).id)
    (row,) = desk.read(batch.output_file_id).values()
    tokens = row["response"]["body"]["purser"]["tokens"]
    assert tokens["prompt_after_compression"] < tokens["prompt_before_compression"]
    (record,) = records_of(desk)
    assert "compression" in record.saving
    (call,) = billed_upstream(desk)
    item = BatchItem.objects.get(tenant_id=desk.member.id)
    assert call["usage"]["prompt_tokens"] < tokens["prompt_before_compression"]
    assert item.body["messages"][0]["content"] == wide


@pytest.mark.parametrize("state", ["pending", "planned", "remembered"])
def test_a_driver_killed_at_any_point_of_planning_changes_nothing(desk_for, state):
    """As if the driver had been killed before it wrote down what it had done."""
    desk = desk_for(budgets=[BUDGET])
    ask(desk, "What is 40 plus 2?")
    order = desk.order(
        [question("known", "What is 40 plus 2?"), *(question(name, "What is 5 plus 5?") for name in "ab")]
    )
    batch = desk.wait(order.id)
    row = Batch.objects.get(public_id=order.id)
    before = list(records_of(desk).order_by("id").values("id", "billed_cost", "list_cost"))
    if state == "remembered":  # booked, and not written down
        row.items.filter(cost_usd=0).update(status="remembered", settled_at=None)
        for item in row.items.filter(status="remembered"):
            first = row.items.get(custom_id="a")
            facts = first.remembered if item.custom_id == "b" else None
            if facts is None:
                facts = {**first.remembered, "state": "exact"}
            BatchItem.objects.filter(pk=item.pk).update(remembered=facts)
        Batch.objects.filter(pk=row.pk).update(status="in_progress")
    else:
        Batch.objects.filter(pk=row.pk).update(status="in_progress")
    drive(row.pk)
    assert desk.wait(batch.id).status == "completed"
    assert list(records_of(desk).order_by("id").values("id", "billed_cost", "list_cost")) == before
    assert UsageRecord.objects.filter(tenant_id=desk.member.id).count() == 4


def test_the_headers_of_a_batch_count_for_each_line(desk_for):
    """Without caches nothing is answered from memory and equal lines are sent each; a tier is that of `auto`."""
    desk = desk_for(policy={"routing": {"enabled": True}})
    ask(desk, "What is 50 plus 5?")
    batch = desk.order(
        [question(f"q{number}", "What is 50 plus 5?", model="auto") for number in range(2)],
        headers={
            "x-purser-cache": "off",
            "x-purser-tier": "complex",
            "x-purser-compress": "off",
            "x-purser-prompt-version": "v2",
        },
    )
    desk.wait(batch.id)
    assert Batch.objects.get(public_id=batch.id).context == {
        "cache": "off",
        "tier": "complex",
        "compress": False,
        "prompt_version": "v2",
    }
    rows = records_of(desk).filter(processing="batch").values_list("cache_state", "tier")
    assert list(rows) == [("bypass", "complex")] * 2
