"""The world of the tests: tenant acme with alice (owner) and bob (member), and an outsider's tenant with charlie.

Invariant: every test gets tenants, keys and models of its own, so that no test sees another's money or cache.
"""

import json
import os
import secrets
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from tests.books import Books
from tests.declared import TENANT, WORLD
from tests.stack import Stack

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client

    from tenants.models import Tenant

POLICY: dict[str, Any] = {
    "cache": {"exact": True, "semantic": "static", "threshold": 0.85},
    "routing": {"enabled": True, "default_tier": "standard"},
    "compression": {"enabled": False},
}

# the SDKs read all roots of trust for each client that they make, which takes longer than a call
TRUST = ssl.create_default_context()


@dataclass
class Member:
    """A tenant of a test and the key it calls with."""

    slug: str
    key: str
    id: int


@dataclass
class Deployment:
    """A model at a provider account of its own: its faults and its rests are no other test's."""

    model: str
    provider: str
    account_key: str


@dataclass
class World:
    """Tenants of one test, and the SDKs that call with their keys."""

    stack: Stack
    acme: Member
    make_tenant: Callable[..., Member]

    @cached_property
    def outsider(self) -> Member:
        """Another tenant, made for who asks; in a thread, since an event loop may be running here."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._made_outsider).result()

    def _made_outsider(self) -> Member:
        from django.db import connection

        try:
            return self.make_tenant("outsider", users=[{"id": "charlie"}])
        finally:
            connection.close()

    def openai(
        self, member: Member | None = None, *, key: str = "", base_url: str = "", **options: Any
    ) -> Any:
        import openai

        url = base_url or self.stack.base_url
        return openai.OpenAI(
            base_url=f"{url}/v1",
            api_key=key or (member or self.acme).key,
            max_retries=0,
            timeout=30,
            **{"http_client": openai.DefaultHttpxClient(verify=TRUST), **options},
        )

    def async_openai(self, member: Member | None = None, *, base_url: str = "", **options: Any) -> Any:
        import openai

        url = base_url or self.stack.base_url
        return openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key=(member or self.acme).key,
            max_retries=0,
            timeout=60,
            **{"http_client": openai.DefaultAsyncHttpxClient(verify=TRUST), **options},
        )

    def anthropic(
        self, member: Member | None = None, *, key: str = "", base_url: str = "", **options: Any
    ) -> Any:
        import anthropic

        return anthropic.Anthropic(
            base_url=base_url or self.stack.base_url,
            api_key=key or (member or self.acme).key,
            max_retries=0,
            timeout=30,
            **{"http_client": anthropic.DefaultHttpxClient(verify=TRUST), **options},
        )

    def async_anthropic(self, member: Member | None = None, **options: Any) -> Any:
        import anthropic

        return anthropic.AsyncAnthropic(
            base_url=self.stack.base_url,
            api_key=(member or self.acme).key,
            max_retries=0,
            timeout=60,
            **{"http_client": anthropic.DefaultAsyncHttpxClient(verify=TRUST), **options},
        )

    def get(self, path: str, member: Member | None = None) -> tuple[int, Any]:
        """GET one of our own endpoints; the status and the decoded body."""
        return self.request("GET", path, member=member)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        member: Member | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.stack.base_url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "authorization": f"Bearer {(member or self.acme).key}",
                "content-type": "application/json",
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def fault(self, **order: Any) -> None:
        """Queue a fault at the sandbox."""
        self.control("POST", "/faults", order)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.stack.control_url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture(scope="session")
def shared_models(stack: Stack, django_db_blocker: Any) -> None:
    """The models that every tenant may call, declared once: no test changes them."""
    from llm.configuration import apply_configuration

    with django_db_blocker.unblock():
        environ = {**os.environ, "SANDBOX": stack.sandbox_url}
        apply_configuration(WORLD, source="world.yaml", environ=environ, dry_run=False)


@pytest.fixture
def make_tenant(shared_models: None, committed: None) -> Callable[..., Member]:
    """Make a tenant as an operator would: through a configuration file."""

    def make(
        slug: str = "acme",
        *,
        policy: dict[str, Any] | None = None,
        budgets: list[dict[str, Any]] | None = None,
        users: list[dict[str, Any]] | None = None,
        rate_limits: dict[str, int] | None = None,
        alerts: list[dict[str, Any]] | None = None,
        channels: list[dict[str, Any]] | None = None,
        key: dict[str, Any] | None = None,
        more_keys: list[dict[str, Any]] | None = None,
    ) -> Member:
        from llm.configuration import apply_configuration
        from tenants.models import Tenant

        slug = f"{slug}-{secrets.token_hex(4)}"
        secret = f"key-of-{slug}-{secrets.token_hex(8)}"
        text = "tenants:" + TENANT.format(
            slug=slug,
            name=f"{slug} Ltd",
            policy=json.dumps({**POLICY, **(policy or {})}),
            users=json.dumps(
                users if users is not None else [{"id": "alice", "cost_center": "4711"}, {"id": "bob"}]
            ),
            keys=json.dumps(
                [{"name": "main", "secret": secret, "models": ["*"], **(key or {})}, *(more_keys or [])]
            ),
            budgets=json.dumps(budgets or []),
            rate_limits=json.dumps(rate_limits or {}),
            alerts=json.dumps(alerts or []),
            channels=json.dumps(channels or []),
        )
        apply_configuration(text, source="tenant.yaml", environ={}, dry_run=False)
        return Member(slug, secret, Tenant.objects.get(slug=slug).pk)

    return make


def declare_deployment(
    sandbox_url: str,
    *,
    kind: str = "openai",
    base_url: str = "",
    timeouts: dict[str, float] | None = None,
    limits: dict[str, int] | None = None,
    **model: Any,
) -> tuple[Deployment, dict[str, Any]]:
    """A model outside the tiers, at an account whose calls the sandbox's log tells apart; and its configuration."""
    token = secrets.token_hex(4)
    deployment = Deployment(f"model-{token}", f"account-{token}", f"sk-sandbox-{token}")
    is_openai, is_azure = kind != "anthropic", kind == "azure"
    provider = {
        "name": deployment.provider,
        "kind": kind,
        "base_url": base_url or sandbox_url + ("/v1" if is_openai and not is_azure else ""),
        "api_key": deployment.account_key,
        "options": {"api_version": "2024-10-21"} if is_azure else {},
        "timeouts": timeouts or {},
        "limits": limits or {},
    }
    prices = {"input": "1", "cache_read": "0.1", "output": "4"} | (
        {} if is_openai else {"cache_write_5m": "1.25"}
    )
    declared = {
        "name": deployment.model,
        "provider": deployment.provider,
        "upstream": "gpt-4o-mini" if is_openai else "claude-haiku-4-5",
        "context_window": 128000,
        "max_output_tokens": 16384,
        "capabilities": ["tools", "vision", "json_schema"],
        "prices": [{"meter": meter, "usd_per_million": price} for meter, price in prices.items()],
    }
    return deployment, {"providers": [provider], "models": [declared | model]}


@pytest.fixture
def make_deployment(stack: Stack, committed: None) -> Callable[..., Deployment]:
    """Declare a deployment as an operator would."""

    def make(kind: str = "openai", **declared: Any) -> Deployment:
        from llm.configuration import apply_configuration

        deployment, document = declare_deployment(stack.sandbox_url, kind=kind, **declared)
        apply_configuration(json.dumps(document), source="deployment.yaml", environ={}, dry_run=False)
        return deployment

    return make


@pytest.fixture
def books(stack: Stack, committed: None) -> Books:
    """The ledger and the provider's invoice."""
    return Books(stack)


@pytest.fixture
def world(stack: Stack, make_tenant: Callable[..., Member]) -> World:
    """acme with alice and bob, and the outsider with charlie."""
    return World(stack, make_tenant("acme"), make_tenant)


@pytest.fixture
def member(make_tenant: Callable[..., Member]) -> Member:
    """A tenant whose budgets count everything."""
    return make_tenant(
        budgets=[
            {"scope": "tenant", "unit": "usd", "period": "month", "limit": "10", "mode": "hard"},
            {"scope": "tenant", "unit": "tokens", "period": "day", "limit": "1000000", "mode": "hard"},
        ]
    )


def new_tenant(slug: str = "acme", **fields: Any) -> "Tenant":
    """A tenant's row alone, for tests that need no key and no product."""
    from tenants.models import Tenant

    values = {"name": "Acme GmbH", "timezone": "Europe/Berlin"} | fields
    return Tenant.objects.create(slug=f"{slug}-{secrets.token_hex(4)}", **values)


@pytest.fixture
def tenant(db: None) -> "Tenant":
    """A tenant that is rolled back with its test."""
    return new_tenant()


@dataclass
class Operator:
    """A person who runs the platform, and logs in to the admin by name and password."""

    person: "User"
    password: str

    @property
    def name(self) -> str:
        return self.person.get_username()


@pytest.fixture
def operator_account(committed: None) -> Iterator[Operator]:
    """An operator of the test's own, who is no operator any more afterwards."""
    from django.contrib.auth.models import User

    password = secrets.token_hex(8)
    person = User.objects.create_superuser(f"olga-{secrets.token_hex(4)}", password=password)
    yield Operator(person, password)
    User.objects.filter(pk=person.pk).update(is_active=False)


@pytest.fixture
def operator(operator_account: Operator) -> "Client":
    """The operator's browser, logged in to the admin."""
    from django.test import Client

    client = Client()
    client.force_login(operator_account.person)
    return client
