"""Prometheus' figures are those of all workers, whichever of them is asked."""

import re

from tests.stack import LOCAL
from tests.world import World

CALLS = 24


def counted(base_url: str, *, model: str) -> float:
    """The calls of a model, as the worker that happens to answer tells them."""
    with LOCAL.open(f"{base_url}/metrics", timeout=10) as response:
        text = response.read().decode()
    lines = re.findall(
        rf'^purser_requests_total{{[^}}]*model="{model}"[^}}]*}} (\S+)$', text, flags=re.MULTILINE
    )
    return sum(map(float, lines))


def test_every_worker_tells_the_sum_of_all(world: World) -> None:
    model = "claude-haiku-4-5"
    before = counted(world.stack.base_url, model=model)
    for number in range(CALLS):
        client = world.openai()  # a connection of its own each, so that both workers get some
        messages = [{"role": "user", "content": f"What is {number} plus {number}?"}]
        client.chat.completions.create(model=model, max_tokens=20, messages=messages)
        client.close()
    assert {counted(world.stack.base_url, model=model) - before for _ in range(6)} == {CALLS}
