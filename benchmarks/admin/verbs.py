"""How soon the gateway obeys a switch: from the press of the button in the admin until every process refuses.

Two web processes stand over the rows that the pages were measured on, before the static provider. A switch is pressed as an
operator presses it, by the POST of its dialog; then calls on connections of their own ask until all of them are refused, and
after the opposite button until all are answered.
"""

import asyncio
import os
import statistics
from pathlib import Path
from time import monotonic
from typing import Any, Final

import aiohttp

from benchmarks.admin.pages import client_of

PRESSED: Final = 7  # times, each
CALLS: Final = 8  # at one time, so that each process gets some
PATIENCE_SECONDS: Final = 30
ANSWERED: Final = {(200, "")}
SWITCHES: Final = {
    "tenant": ("tenants_tenant_suspend", "tenants_tenant_resume", {(403, "tenant_suspended")}),
    "model": ("llm_languagemodel_switch_off", "llm_languagemodel_switch_on", {(503, "provider_unavailable")}),
    "provider": ("llm_provider_disable", "llm_provider_enable", {(503, "provider_unavailable")}),
}


def measure() -> dict[str, Any]:
    """Seconds from the press until all refuse, and until all answer again: the median and the most of some presses."""
    import json

    from benchmarks.load.product import configuration_of, gateway_of
    from benchmarks.load.upstream import static_upstream
    from config.running import embedded
    from llm.configuration import apply_configuration

    home = Path(os.environ["PURSER_HOME"])
    redis = embedded.start_redis(home)
    try:
        with static_upstream(home) as upstream:
            apply_configuration(
                json.dumps(configuration_of(upstream)), source="bench", environ={}, dry_run=False
            )
            environment = {"REDIS_URL": redis.url, "LOG_LEVEL": "ERROR"}
            with gateway_of(home, environment, workers=2, on_cores=sorted(os.sched_getaffinity(0))) as (
                url,
                _,
            ):
                return {name: _switch(name, url) for name in SWITCHES}
    finally:
        redis.stop()


def _switch(name: str, url: str) -> dict[str, Any]:
    off, on, refused = SWITCHES[name]
    row = _row(name)
    _until(url, ANSWERED)
    seconds: dict[str, list[float]] = {"refused": [], "answered": []}
    for _ in range(PRESSED):
        seconds["refused"].append(_press(off, row, url, refused))
        seconds["answered"].append(_press(on, row, url, ANSWERED))
    told = {
        f"{what}_{kind}_seconds": round(figure(values), 3)
        for what, values in seconds.items()
        for kind, figure in (("median", statistics.median), ("most", max))
    }
    print(f"{name}: {told}", flush=True)
    return told


def _row(name: str) -> int:
    from benchmarks.load.product import NAMED_MODEL
    from llm.models import LanguageModel
    from tenants.models import Tenant

    if name == "tenant":
        return Tenant.objects.get(slug="plain").pk
    model = LanguageModel.objects.get(name=NAMED_MODEL)
    return model.pk if name == "model" else model.provider_id


def _press(button: str, row: int, url: str, expected: set[tuple[int, str]]) -> float:
    """Press, and how long it took from then on."""
    from django.urls import reverse

    client, address = client_of("olga"), reverse(f"admin:{button}", args=(row,))
    client.get(address)  # the dialog, with what the switch would do
    pressed = monotonic()
    answer = client.post(address, {"_form_submitted": "on", "reason": "bench-admin"})
    if answer.status_code >= 400:
        raise SystemExit(f"{button}: {answer.status_code}")
    _until(url, expected)
    return monotonic() - pressed


def _until(url: str, expected: set[tuple[int, str]]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while (found := asyncio.run(_answers(url))) != expected:
        if monotonic() > deadline:
            raise SystemExit(f"{found} is not {expected}")


async def _answers(url: str) -> set[tuple[int, str]]:
    """Status and error code of the same call on many fresh connections at one time."""
    from benchmarks.load.product import NAMED_MODEL, PLAIN_KEY

    body = {"model": NAMED_MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {PLAIN_KEY}"}
    connector = aiohttp.TCPConnector(force_close=True, limit=0)

    async with aiohttp.ClientSession(connector=connector) as session:

        async def one() -> tuple[int, str]:
            async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                return response.status, ((await response.json()).get("error") or {}).get("code", "")

        return set(await asyncio.gather(*(one() for _ in range(CALLS))))
