"""The lane between batch and real time: the provider's own cheaper tier."""

from decimal import Decimal

from llm.models import LaneDelay
from llm.providers.retries import DEFAULT

ONLINE = {"input": "1", "cache_read": "0.1", "output": "4"}
FLEX = {"input": "0.5", "cache_read": "0.05", "output": "2"}


def test_it_works(bureau_for, make_deployment):
    bureau = bureau_for()
    prices = [{"meter": meter, "usd_per_million": price} for meter, price in ONLINE.items()]
    prices += [
        {"meter": meter, "processing": "flex", "usd_per_million": price} for meter, price in FLEX.items()
    ]
    deployment = make_deployment(prices=prices)
    job = bureau.ask(model=deployment.model, urgency="within=10m")
    assert [offer["lane"] for offer in job["purser"]["lanes"]] == ["flex", "online"]
    assert job["lane"] == "flex"
    done = bureau.wait(job["id"])
    assert (done["status"], done["lane"], done["purser"]["processing"]) == ("completed", "flex", "flex")
    (record,) = bureau.records()
    expected = (record.input_tokens * Decimal("0.5") + record.output_tokens * 2) / 1_000_000
    assert (record.processing, record.billed_cost) == ("flex", expected)
    assert (bureau.held, bureau.spent) == (0, expected)


def test_what_flex_has_no_room_for_takes_a_batch(bureau_for, make_deployment):
    bureau = bureau_for()
    prices = [{"meter": meter, "usd_per_million": price} for meter, price in ONLINE.items()]
    prices += [
        {"meter": meter, "processing": processing, "usd_per_million": price}
        for processing in ("flex", "batch")
        for meter, price in FLEX.items()
    ]
    deployment = make_deployment(prices=prices)
    match = {"key": deployment.account_key, "path": "/v1/chat/completions"}
    bureau.world.fault(match=match, fault="status:429", times=DEFAULT.max_attempts)
    job = bureau.ask(model=deployment.model, urgency="within=6h")
    assert job["lane"] == "flex"
    done = bureau.wait(job["id"])
    assert (done["status"], done["lane"], done["purser"]["processing"]) == ("completed", "batch", "batch")
    (record,) = bureau.records()
    assert (record.processing, record.billed_cost) == ("batch", Decimal(done["purser"]["cost_usd"]))
    assert (bureau.held, bureau.spent) == (0, record.billed_cost)
    states = [attempt.state for attempt in bureau.attempts()]
    assert (states.count("captured"), set(states)) == (1, {"captured", "voided"})
    never = LaneDelay.objects.get(model=deployment.model, lane="flex").answered[-1]
    assert never == 1
