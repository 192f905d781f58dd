"""A negative rating forgets the answer in both caches, and is a label."""

from tests.api.caches.test_caching import PARAPHRASE, QUESTION, ask_until
from tests.api.conftest import ask, fresh_question
from tests.books import Books, eventually
from tests.world import World


def complain(world: World, books: Books, request_id: str, rating: int = -1) -> None:
    eventually(
        lambda: world.request("POST", "/v1/feedback", {"request_id": request_id, "rating": rating}),
        until=lambda answered: answered[0] == 201,
        pause_seconds=0.1,
    )


def test_an_exact_hit_that_was_complained_of_is_asked_again(world: World, books: Books) -> None:
    text = fresh_question()
    ask(world.openai(), text)
    complain(world, books, ask_until(world, "exact", text).headers["x-request-id"])
    assert ask(world.openai(), text).headers["x-purser-cache"] == "miss"


def test_a_semantic_hit_that_was_complained_of_is_a_wrong_label(world: World, books: Books) -> None:
    from caching.models import CacheEntry, CacheLabel

    ask(world.openai(), QUESTION)
    hit = ask_until(world, "semantic", PARAPHRASE)
    complain(world, books, hit.headers["x-request-id"])
    label = CacheLabel.objects.get(tenant_id=world.acme.id)
    assert (label.source, label.is_wrong, label.verdict) == ("feedback", True, "complaint")
    assert f"{label.similarity:.4f}" == hit.headers["x-purser-similarity"]
    assert not CacheEntry.objects.filter(tenant_id=world.acme.id).exists()
    # the exact answer of the question whose answer it was stays: nobody complained of that
    assert ask(world.openai(), PARAPHRASE).headers["x-purser-cache"] == "miss"


def test_a_fresh_answer_that_was_complained_of_is_not_given_again(world: World, books: Books) -> None:
    first = ask(world.openai(), QUESTION)
    ask_until(world, "semantic", PARAPHRASE)
    complain(world, books, first.headers["x-request-id"])
    assert ask(world.openai(), QUESTION).headers["x-purser-cache"] == "miss"


def test_praise_changes_nothing(world: World, books: Books) -> None:
    text = fresh_question()
    ask(world.openai(), text)
    complain(world, books, ask_until(world, "exact", text).headers["x-request-id"], rating=1)
    assert ask(world.openai(), text).headers["x-purser-cache"] == "exact"


def test_the_receipt_says_why_it_was_a_hit(world: World, books: Books) -> None:
    first = ask(world.openai(), QUESTION)
    hit = ask_until(world, "semantic", PARAPHRASE)
    status, receipt = eventually(
        lambda: world.get(f"/v1/requests/{hit.headers['x-request-id']}"), until=lambda got: got[0] == 200
    )
    assert status == 200
    served = next(step for step in receipt["steps"] if step["step"] == "served")
    assert served["outcome"] == "semantic"
    assert served["answer_of_request"] == first.headers["x-request-id"]
    assert served["threshold"] == 0.85
    assert served["entry_id"] > 0
