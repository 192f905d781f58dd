"""A policy is a form with a switch for each step, previewed before it is saved, and the JSON is judged by the same code."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from billing.admin.figures import utc_today
from billing.ledger.periods import period_at
from billing.models import UsageDaily
from tenants.admin.policy_form import PolicyForm
from tenants.models import ApiKey, Tenant
from tenants.policies.editing import ChangedMeanwhile, digest_of, set_policy
from tenants.policies.fields import as_stored, changed, policy_fields, value_at
from tenants.policies.steps import steps
from tenants.policy import Policy, parse_policy
from tests.admin.office import Office
from tests.admin.test_pages import url_of
from tests.billing.sums import sum_days


def url(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_policy", args=(tenant.pk,))


def filled(tenant: Tenant, **changes: Any) -> dict[str, Any]:
    """What a browser sends of the form, with some fields changed."""
    form = PolicyForm(tenant=tenant, is_operator=True)
    sent: dict[str, Any] = {"way": "form", "read": digest_of(tenant.policy)}
    for name in form.fields:
        value = form.initial[name]
        if value not in (None, False):
            sent[name] = "on" if value is True else value
    sent |= changes
    return {name: value for name, value in sent.items() if value is not None}


def previewed(page: str) -> str:
    found = re.search(r'name="previewed" value="(\w+)"', page)
    assert found is not None, "there is no preview"
    return found[1]


def save(client: Client, tenant: Tenant, sent: dict[str, Any]) -> Any:
    page = client.post(url(tenant), {**sent, "step": "preview"}).content.decode()
    return client.post(url(tenant), {**sent, "step": "save", "previewed": previewed(page)})


def policy_of(tenant: Tenant) -> dict[str, Any]:
    tenant.refresh_from_db()
    return tenant.policy


def test_it_works(office: Office, olga: Client) -> None:
    page = olga.get(url(office.acme)).content.decode()
    for step in steps():
        assert escape(step.title) in page
    answer = save(olga, office.acme, filled(office.acme, compression__enabled="on", cache__ttl_seconds="60"))
    assert answer.headers["location"] == url(office.acme)
    assert policy_of(office.acme) == {"compression": {"enabled": True}, "cache": {"ttl_seconds": 60}}
    entry = office.acme.history.first()
    assert entry.history_user == office.olga


def test_nothing_is_saved_before_it_was_previewed(office: Office, olga: Client) -> None:
    sent = filled(office.acme, compression__enabled="on")
    page = olga.post(url(office.acme), {**sent, "step": "save"}).content.decode()
    assert "Not saved yet" in page
    assert policy_of(office.acme) == {}
    other = filled(office.acme, hedging__after_ms="900")
    page = olga.post(
        url(office.acme), {**other, "step": "save", "previewed": previewed(page)}
    ).content.decode()
    assert "Not saved yet" in page
    assert policy_of(office.acme) == {}


def test_what_the_form_does_not_change_stays_to_the_letter(office: Office, olga: Client) -> None:
    stored = {
        "cache": {"exact": True, "ttl_seconds": 86_400, "bypass_patterns": ["(?i)today"]},
        "pressure": [{"at_percent": 70.5, "demote": "standard", "applies_to_named": True}],
        "features_off_at": {"news letter*": 80},
        "hedging": {"after_ms": None},
    }
    Tenant.objects.filter(pk=office.acme.pk).update(policy=stored)
    office.acme.refresh_from_db()
    save(olga, office.acme, filled(office.acme, store_chats=None))
    assert policy_of(office.acme) == {**stored, "store_chats": False}


def test_every_field_comes_back_as_it_was_stored(office: Office, olga: Client) -> None:
    """For each field a value that is not its default: the form shows it, and sends it back unchanged."""
    others: dict[str, Any] = {
        "pressure": [{"at_percent": 50, "only": "standard"}],
        "cache.bypass_patterns": ["^x  y$"],
        "cache.also_embed_with": ["wordllama"],
        "cache.embedder": "wordllama",
        "cache.waived_rules": ["personal", "action"],
        "refresh.private_keys": ["ci"],
        "allocation.tags": {"project": "apollo"},
        "allocation.teams": {"search": {"cost_center": "4711"}},
    }
    for path, one in policy_fields().items():
        text = ".".join(path)
        bounds = dict(one.bounds)
        match one.kind:
            case "switch":
                value: Any = not one.default
            case "choice":
                value = next(choice for choice in one.choices if choice != one.default)
            case "whole":
                value = int(bounds.get("least", 1)) + 1
            case "number":
                value = 0.25
            case "shares":
                value = {"a b*": 42.5}
            case "lines":
                value = others.get(text, ["one", "two"])
            case _:
                value = others.get(text, "another")
        policy = changed({}, {path: value})
        parse_policy(policy)
        office.acme.policy = policy
        form = PolicyForm(filled(office.acme), tenant=office.acme, is_operator=True)
        assert form.is_valid() or set(form.errors) <= {"cache__judge_model", "routing__baseline_model"}, text
        assert form.wanted == policy, text


def test_an_error_stands_at_its_field(office: Office, olga: Client) -> None:
    for name, value, told in (
        ("cache__ttl_seconds", "0", "policy.cache.ttl_seconds"),
        ("cache__embedder", "nobody", "is none of minilm"),
        ("pressure", "90 explode", "is no rule"),
        ("pressure", "90 demote simple", "policy.pressure[0]"),
        ("features_off_at", "lonely", "is no name with a number"),
        ("cache__bypass_patterns", "(", "no regular expression"),
        ("hedging__after_ms", "x", "whole number"),
    ):
        page = olga.post(url(office.acme), {**filled(office.acme, **{name: value}), "step": "preview"})
        form = page.context["policy_form"]
        assert list(form.errors) == [name], (name, form.errors)
        assert told in str(form.errors[name]), (name, form.errors)
        assert "Not saved yet" not in page.content.decode()
    assert policy_of(office.acme) == {}


def test_the_json_is_judged_by_the_same_code(office: Office, olga: Client) -> None:
    def ask(policy: str, **sent: Any) -> str:
        whole = {"way": "json", "read": digest_of(policy_of(office.acme)), "policy": policy, **sent}
        return olga.post(url(office.acme), whole, follow=True).content.decode()

    assert "policy.cache.ttl" in ask('{"cache": {"ttl": 5}}')
    assert "policy.cache.embedder: is none of minilm" in ask('{"cache": {"embedder": "nobody"}}')
    assert "must be an object" in ask("[1]")
    assert "Enter a valid JSON" in ask("{")
    right = '{"cache": {"ttl_seconds": 5}}'
    assert "The policy is saved" in ask(right, step="save", previewed=previewed(ask(right)))
    assert policy_of(office.acme) == json.loads(right)


def test_nobody_overwrites_what_changed_meanwhile(office: Office, olga: Client) -> None:
    sent = filled(office.acme, compression__enabled="on")
    page = olga.post(url(office.acme), {**sent, "step": "preview"}).content.decode()
    read = digest_of(office.acme.policy)
    set_policy(office.acme, {"log_prompts": True}, read=read, is_operator=True)
    with pytest.raises(ChangedMeanwhile):
        set_policy(office.acme, {"store_chats": False}, read=read, is_operator=True)
    again = {**sent, "step": "save", "previewed": previewed(page)}
    olga.post(url(office.acme), again)
    assert policy_of(office.acme) == {"log_prompts": True}


def test_the_preview_says_what_the_cache_spared(office: Office, olga: Client) -> None:
    UsageDaily.objects.create(
        tenant=office.acme, day=utc_today().date(), cache_state="exact", usage_source="gateway_cache", requests=17,
        list_cost=Decimal("3.21"), saved_cost=Decimal("3.21"),
    )  # fmt: skip
    sum_days(office.acme)
    assert "17, 94.4 % of all" in olga.get(url(office.acme)).content.decode()
    sent = filled(office.acme, cache__exact=None)
    table = olga.post(url(office.acme), {**sent, "step": "preview"}).context["preview"].table
    [row] = table["rows"]
    assert row[:3] == ["Exact cache", 17, Decimal("3.21")]
    assert row[4].startswith("about: sums of days")


def test_the_preview_says_who_would_have_been_refused(office: Office, olga: Client) -> None:
    today = utc_today()
    period = period_at(office.acme, at=today)
    for user, requests in (("stranger", 4), ("", 2)):
        UsageDaily.objects.create(
            tenant=office.acme, day=today.date(), period_id=period.pk, user_id=user, records=requests, requests=requests,
            billed_cost=Decimal(1),
        )  # fmt: skip
    sent = filled(office.acme, users__unknown="refuse", users__missing="refuse")
    table = olga.post(url(office.acme), {**sent, "step": "preview"}).context["preview"].table
    assert [row[1] for row in table["rows"]] == [4, 2]


def test_who_only_reads_changes_nothing(office: Office) -> None:
    fay = office.client(office.fay)
    page = fay.get(url(office.acme)).content.decode()
    assert "Preview the change" not in page
    assert fay.post(url(office.acme), filled(office.acme, compression__enabled="on")).status_code == 403
    assert office.client(office.charlie).get(url(office.acme)).status_code == 404


def test_a_default_is_not_stored() -> None:
    known = policy_fields()
    stored = {"cache": {"ttl_seconds": 60}, "routing": {"enabled": False}}
    assert changed(stored, {("cache", "ttl_seconds"): 86_400}) == {"routing": {"enabled": False}}
    assert changed({}, {path: one.default for path, one in known.items()}) == {}
    assert changed({"cache": None}, {("cache", "exact"): False}) == {"cache": {"exact": False}}
    assert as_stored(Policy().pressure) == [
        {"at_percent": 90, "demote": "complex"},
        {"at_percent": 95, "only": "simple"},
    ]
    assert value_at(Policy(), ("hedging", "after_ms")) is None


def test_every_field_of_a_policy_has_its_step() -> None:
    placed = [path for step in steps() for path in step.paths]
    assert sorted(placed) == sorted(policy_fields())


def test_rate_limits_are_fields(office: Office, olga: Client) -> None:
    fields = {"name": "Acme", "timezone": "Europe/Berlin", "rpm": "600", "tpm": "", "concurrency": "50"}
    assert olga.post(url_of(Tenant, "change", office.acme.pk), fields).status_code == 302
    office.acme.refresh_from_db()
    assert office.acme.rate_limits == {"rpm": 600, "concurrency": 50}
    page = olga.get(url_of(Tenant, "change", office.acme.pk)).content.decode()
    assert 'value="600"' in page
    for wrong in ("0", "-1", "x", "99999999999"):
        assert (
            olga.post(url_of(Tenant, "change", office.acme.pk), {**fields, "rpm": wrong}).status_code == 200
        )
    key = office.row(ApiKey)
    sent = {"name": key.name, "models": '["*"]', "ip_allow_list": "[]", "tpm": "1000"}
    assert olga.post(url_of(ApiKey, "change", key.pk), sent).status_code == 302
    key.refresh_from_db()
    assert key.rate_limits == {"tpm": 1000}
    assert (
        "1,000 tokens/min"
        in office.client(office.alice)
        .get(reverse("admin:tenants_tenant_keys", args=(office.acme.pk,)))
        .content.decode()
    )
    assert (
        "600 requests/min"
        in office.client(office.alice).get(url_of(Tenant, "change", office.acme.pk)).content.decode()
    )
