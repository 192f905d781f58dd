"""The page of queues and workers."""

import secrets
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from tenants.models import Membership
from tests.books import eventually
from tests.stack import Stack
from tests.world import Member

PAGE = "/admin/llm/batchturn/"


def test_it_works(stack: Stack, operator: Client) -> None:
    """With real workers: each is shown with its queues, and so are their tasks."""
    stack.start_celery()

    def text() -> str:
        return operator.get(PAGE).content.decode()

    page = eventually(
        text,
        until=lambda found: all(
            name in found for name in ("books@", "batches@", "realtime@", "deliver alerts")
        ),
        patience_seconds=60,
    )
    assert "nobody works here" not in page


def test_without_redis_it_says_so(operator: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert "nothing is known" in operator.get(PAGE).content.decode()


def test_only_operators_see_it(make_tenant: Callable[..., Member]) -> None:
    member = make_tenant()
    owner = User.objects.create_user(f"owner-{secrets.token_hex(4)}", is_staff=True)
    Membership.objects.create(user=owner, tenant_id=member.id, role=Membership.Role.OWNER)
    client = Client()
    assert client.get(PAGE).status_code == 302
    client.force_login(owner)
    assert client.get(PAGE).status_code == 403
