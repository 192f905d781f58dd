"""What an operator sees of the accounts: in /metrics, and on the admin's page of deployments."""

import re
from collections.abc import Callable

import openai
import pytest
from django.test import Client

from llm.admin.deployment_states import read_states
from llm.providers.errors import ProviderError
from llm.providers.health import Health
from llm.providers.tally import Tally
from tests.api.conftest import ask
from tests.books import Books, eventually
from tests.llm.conftest import Spread
from tests.llm.providers.test_balancing import target
from tests.stack import LOCAL
from tests.world import Member, World


def metric(world: World, name: str, provider: str, model: str = "") -> list[float]:
    with LOCAL.open(f"{world.stack.base_url}/metrics", timeout=10) as response:
        text = response.read().decode()
    found = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", text, flags=re.MULTILINE)
    wanted = [f'provider="{provider}"', *([f'model="{model}"'] if model else [])]
    return [float(value) for labels, value in found if all(one in labels for one in wanted)]


def text_of(operator: Client) -> str:
    """The page's text, its spaces made one."""
    html = operator.get("/admin/llm/languagemodel/deployments/").content.decode()
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_it_works(
    world: World,
    books: Books,
    member: Member,
    make_spread: Callable[..., Spread],
    operator: Client,
) -> None:
    """A resting account is shown as such, with its share of the calls, by Prometheus and on the page."""
    spread = make_spread({"limits": {"rpm": 6000, "concurrency": 7}}, {"weight": 3})
    failing, well = (account.provider for account in spread.accounts)
    world.fault(fault="status:500", match={"key": spread.keys[0]}, times=-1)
    client = world.openai(member)

    def resting() -> bool:
        ask(client, model=spread.model, max_tokens=10)
        return metric(world, "purser_deployment_state", failing, spread.model) == [2.0]

    eventually(resting, patience_seconds=60)
    assert metric(world, "purser_deployment_state", well, spread.model) == [0.0]
    assert metric(world, "purser_deployment_failing", failing, spread.model)[0] > 0
    assert sum(metric(world, "purser_attempts_total", failing, spread.model)) == spread.calls(books)[0]
    state = eventually(
        lambda: (known := read_states([failing])) and known.deployments.get((failing, spread.model)),
        until=lambda found: found and found.resting_in,
    )
    assert state.failures == state.calls > 0
    page = text_of(operator)
    assert re.search(
        rf"{spread.model} {failing} 1 \(25\.0 %\) \d+ \([\d.]+ %\) 100\.0 % – – resting in", page
    )
    assert "rpm 6,000, concurrency 7" in page


def test_a_call_under_way_is_counted_at_its_account(
    world: World, member: Member, make_deployment: Callable
) -> None:
    deployment = make_deployment(limits={"concurrency": 2})
    world.fault(fault="drip", match={"key": deployment.account_key}, delay_ms=100)
    with world.openai(member).chat.completions.create(
        model=deployment.model,
        messages=[{"role": "user", "content": "Write 400 words."}],
        stream=True,
        max_tokens=400,
    ) as stream:
        next(iter(stream))
        assert metric(world, "purser_provider_calls_in_flight", deployment.provider) == [1.0]
        known = read_states([deployment.provider])
        assert known is not None
        assert known.accounts[deployment.provider].running == 1
    eventually(
        lambda: metric(world, "purser_provider_calls_in_flight", deployment.provider),
        until=lambda found: found == [0.0],
        patience_seconds=60,
    )


def test_a_pause_that_the_provider_asked_for_is_shown(
    world: World, member: Member, make_deployment: Callable, operator: Client
) -> None:
    deployment = make_deployment(limits={"rpm": 600})
    world.fault(fault="status:429", match={"key": deployment.account_key}, retry_after=300)
    with pytest.raises(openai.APIStatusError):
        ask(world.openai(member), model=deployment.model)
    known = read_states([deployment.provider])
    assert known is not None
    assert 200 < known.accounts[deployment.provider].paused_seconds <= 300
    page = text_of(operator)
    assert "paused by the provider for" in page


def test_the_page_is_for_operators() -> None:
    assert Client().get("/admin/llm/languagemodel/deployments/").status_code == 302


def test_a_report_has_every_deployment_that_was_called() -> None:
    now = [0.0]
    health = Health(clock=lambda: now[0])
    with health.watch(target("good")):
        now[0] += 1
    with pytest.raises(ProviderError), health.watch(target("bad")):
        raise ProviderError("no")
    good, bad = health.report()
    assert (good["provider"], good["calls"], good["failures"], good["state"]) == ("good", 1, 0, "closed")
    assert (bad["calls"], bad["failures"], bad["failing"]) == (1, 1, 0.2)
    now[0] += 3 * 3600
    assert health.report()[0]["calls"] == 0


def test_a_tally_forgets_what_is_older_than_an_hour() -> None:
    tally = Tally()
    for minute in range(90):
        tally.add(minute * 60.0, failed=minute % 2 == 0)
    assert tally.last_hour(89 * 60.0) == (60, 30)
    assert tally.last_hour(200 * 60.0) == (0, 0)
