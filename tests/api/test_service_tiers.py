"""A call is held at the tier it asks for and billed at the tier that was served."""

from decimal import Decimal

import openai
import pytest

from billing.models import UsageRecord
from tests.world import World


def test_it_works(world: World) -> None:
    answer = world.openai().chat.completions.create(
        model="gpt-4o-mini",
        max_tokens=40,
        messages=[{"role": "user", "content": "How do I order a second card?"}],
        service_tier="default",
    )
    record = UsageRecord.objects.get(tenant_id=world.acme.id)
    assert record.processing == "online"
    assert record.billed_cost == Decimal(answer.model_extra["purser"]["cost_usd"])


def test_a_tier_without_a_price_is_never_called(world: World) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        world.openai().chat.completions.create(
            model="gpt-4o-mini",
            messages=[{"role": "user", "content": "How do I order a second card?"}],
            service_tier="priority",
        )
    assert refused.value.status_code == 402
    assert not UsageRecord.objects.filter(tenant_id=world.acme.id).exists()
