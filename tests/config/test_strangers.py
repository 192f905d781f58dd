"""What a stranger hears of us, and whose address a call comes from."""

import json
from typing import Any

import pytest
from django.test import AsyncRequestFactory, RequestFactory

from config import health
from config.door.peers import trusted_networks
from llm.views.base import client_ip_of
from tenants.signing_in.login import address_of

TOKEN = "a-token-for-prometheus"


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9"]
)
async def test_the_figures_need_the_token(sent: str, settings: Any, loop_resources: None) -> None:
    settings.METRICS_TOKEN = TOKEN
    headers = {"authorization": sent} if sent else {}
    refused = await health.metrics(AsyncRequestFactory().get("/metrics", headers=headers))
    assert (refused.status_code, refused["www-authenticate"]) == (401, "Bearer")
    assert b"purser_" not in refused.content
    ready = await health.readyz(AsyncRequestFactory().get("/readyz", headers=headers))
    assert ready.status_code == 200
    assert list(json.loads(ready.content)) == ["status"]


async def test_whoever_has_it_reads_them(settings: Any, loop_resources: None) -> None:
    settings.METRICS_TOKEN = TOKEN
    headers = {"authorization": f"Bearer {TOKEN}"}
    told = await health.metrics(AsyncRequestFactory().get("/metrics", headers=headers))
    assert (told.status_code, b"purser_" in told.content) == (200, True)
    ready = await health.readyz(AsyncRequestFactory().get("/readyz", headers=headers))
    assert "postgresql" in json.loads(ready.content)["dependencies"]


def test_a_call_comes_from_where_a_trusted_proxy_says(settings: Any) -> None:
    request = RequestFactory().get(
        "/", REMOTE_ADDR="10.0.0.1", headers={"x-forwarded-for": "1.1.1.1, 203.0.113.7"}
    )
    for read in (client_ip_of, address_of):
        assert read(request) == "10.0.0.1"
    settings.TRUSTED_PROXIES = trusted_networks(["10.0.0.0/8"])
    for read in (client_ip_of, address_of):
        assert read(request) == "203.0.113.7"
