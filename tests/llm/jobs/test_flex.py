"""The lane between batch and real time: the provider's own cheaper tier."""

from decimal import Decimal

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
