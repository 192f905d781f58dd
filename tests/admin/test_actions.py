"""The admin's buttons call the verbs, and leave their author in the history."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from billing.models import (
    AlertChannel,
    AlertDelivery,
    AlertEvent,
    AlertRule,
    Budget,
    BudgetRaise,
    PriceProposal,
    PriceRow,
    RollupDirty,
    UsageDaily,
)
from caching.models import CacheEntry
from llm.models import LanguageModel, Provider
from tenants.keys import strings as keys
from tenants.models import ApiKey
from tests.admin.filling import HOOK_SECRET, PROVIDER_KEY
from tests.admin.office import Office
from tests.admin.pressing import author_of, press
from tests.admin.test_pages import url_of


def test_it_works(office: Office, olga: Client) -> None:
    press(olga, "tenants_tenant_suspend", office.acme.pk, reason="unpaid")
    office.acme.refresh_from_db()
    assert office.acme.status == "suspended"
    assert author_of(office.acme) == ("olga", "unpaid")
    press(olga, "tenants_tenant_resume", office.acme.pk)
    office.acme.refresh_from_db()
    assert office.acme.status == "active"


def test_opening_a_dialog_changes_nothing(office: Office, olga: Client) -> None:
    olga.get(reverse("admin:tenants_tenant_suspend", args=(office.acme.pk,)))
    office.acme.refresh_from_db()
    assert office.acme.status == "active"


def test_a_key_is_issued_and_its_secret_shown_once(office: Office, olga: Client) -> None:
    fields = {
        "tenant": office.acme.pk,
        "name": "fresh",
        "models": '["gpt-*"]',
        "ip_allow_list": "[]",
        "rate_limits": "{}",
    }
    response = olga.post(url_of(ApiKey, "add"), fields)
    key = ApiKey.objects.get(name="fresh")
    secret = response.context["secret"]
    assert keys.matches(secret, bytes(key.secret_hash))
    assert "no-store" in response["Cache-Control"]
    assert author_of(key) == ("olga", "issued")
    for page in (
        url_of(ApiKey, "change", key.pk),
        url_of(ApiKey, "changelist"),
        url_of(ApiKey, "history", key.pk),
    ):
        assert secret not in olga.get(page).content.decode()
    again = olga.post(url_of(ApiKey, "add"), fields)
    assert "already called" in again.content.decode()


def test_a_key_is_rotated_with_a_grace(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    before = bytes(key.secret_hash)
    response = press(olga, "tenants_apikey_rotate", key.pk, grace_hours=2)
    key.refresh_from_db()
    assert keys.matches(response.context["secret"], bytes(key.secret_hash))
    assert bytes(key.previous_secret_hash) == before
    assert timedelta(hours=1) < key.previous_expires_at - now() <= timedelta(hours=2)
    press(olga, "tenants_apikey_end_former_secret", key.pk)
    key.refresh_from_db()
    assert key.previous_secret_hash is None


def test_a_key_is_revoked_for_good(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    press(olga, "tenants_apikey_revoke", key.pk, reason="leaked")
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert author_of(key) == ("olga", "leaked")
    assert olga.post(url_of(ApiKey, "change", key.pk), {"name": "again"}).status_code == 403
    # the history is to read: posting an old version would bring the key back
    first = key.history.last()
    url = reverse("admin:tenants_apikey_simple_history", args=(key.pk, first.pk))
    assert olga.get(url).status_code == 200
    assert olga.post(url, {"name": key.name, "models": "[]"}).status_code == 403
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_keys_are_revoked_together(office: Office, olga: Client) -> None:
    key = office.row(ApiKey)
    olga.post(
        url_of(ApiKey, "changelist"),
        {"action": "revoke_selected", "_selected_action": [key.pk], "post": "yes"},
    )
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_budget_is_raised_until(office: Office, olga: Client) -> None:
    budget = office.row(Budget)
    until = (now() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    press(
        olga,
        "billing_budget_raise_until",
        budget.pk,
        extra_amount="2.5",
        ends_at=until,
        reason="Black Friday",
    )
    raised = BudgetRaise.objects.get(reason="Black Friday")
    assert (raised.budget, raised.extra_amount, raised.approved_by) == (budget, Decimal("2.5"), office.olga)
    assert raised.starts_at <= now() < raised.ends_at
    assert "$5.00 + $3.50" in olga.get(url_of(Budget, "changelist")).content.decode()
    press(olga, "billing_budgetraise_end_now", raised.pk)
    raised.refresh_from_db()
    assert raised.ends_at <= now()


@pytest.mark.parametrize(
    "answers",
    [
        {"extra_amount": "1", "ends_at": "2020-01-01T00:00", "reason": "too late"},
        {"extra_amount": "-1", "ends_at": "2099-01-01T00:00", "reason": "less"},
        {"extra_amount": "1", "ends_at": "2099-01-01T00:00", "reason": ""},
    ],
)
def test_a_raise_needs_an_amount_an_end_and_a_reason(
    answers: dict[str, str], office: Office, olga: Client
) -> None:
    before = BudgetRaise.objects.count()
    assert press(olga, "billing_budget_raise_until", office.row(Budget).pk, **answers).status_code == 200
    assert BudgetRaise.objects.count() == before


def test_a_budgets_limit_has_a_history(office: Office, olga: Client) -> None:
    budget = office.row(Budget)
    fields = {"limit_amount": "9", "mode": "soft", "alert_at": "[50, 100]", "is_active": "on"}
    inline = {"raises-TOTAL_FORMS": 0, "raises-INITIAL_FORMS": 0}
    assert olga.post(url_of(Budget, "change", budget.pk), {**fields, **inline}).status_code == 302
    budget.refresh_from_db()
    assert (budget.limit_amount, budget.alert_at) == (9, [50, 100])
    assert author_of(budget)[0] == "olga"
    page = olga.get(url_of(Budget, "history", budget.pk)).content.decode()
    assert "limit_amount" in page.lower() or "limit amount" in page.lower()
    wrong = olga.post(url_of(Budget, "change", budget.pk), {**fields, **inline, "alert_at": '["half"]'})
    assert "must be a list of percentages" in wrong.content.decode()


def test_a_price_is_set_and_the_past_stays_known(office: Office, olga: Client) -> None:
    row = office.row(PriceRow)
    press(olga, "billing_pricerow_change_price", row.pk, unit_price="3.25")
    row.refresh_from_db()
    assert row.superseded_at is not None
    live = PriceRow.objects.filter(model=row.model, superseded_at=None).order_by("valid_from")
    assert [price.unit_price for price in live] == [Decimal("2.5"), Decimal("3.25")]
    assert live[0].valid_to == live[1].valid_from
    assert live[1].approved_by == office.olga
    press(olga, "billing_pricerow_change_price", row.pk, unit_price="4")
    assert live.all().count() == 2, "a superseded row is not changed"


def test_a_price_is_added_unless_one_counts(office: Office, olga: Client) -> None:
    fields = {
        "book": "list", "provider": "openai", "model": "gpt-new", "meter": "input", "processing": "online",
        "service_tier": "standard", "region": "global", "above_input_tokens": 0, "unit_price": "1", "per": 1_000_000,
        "valid_from_0": "2026-01-01", "valid_from_1": "00:00:00",
    }  # fmt: skip
    assert olga.post(url_of(PriceRow, "add"), fields).status_code == 302
    assert PriceRow.objects.get(model="gpt-new").approved_by == office.olga
    assert "counts in that time" in olga.post(url_of(PriceRow, "add"), fields).content.decode()


def test_a_proposal_is_decided(office: Office, olga: Client) -> None:
    for button, status in (("approve", "applied"), ("reject", "rejected")):
        proposal = PriceProposal.objects.create(source="test", digest=button * 8, diff={"changes": []})
        press(olga, f"billing_priceproposal_{button}", proposal.pk)
        proposal.refresh_from_db()
        assert (proposal.status, proposal.decided_by) == (status, office.olga)
        press(olga, f"billing_priceproposal_{button}", proposal.pk)  # says that it is decided, and fails not


def test_an_alert_is_muted_and_resolved(office: Office, olga: Client) -> None:
    event = AlertEvent.objects.create(tenant=office.acme, metric="x", value=1, threshold=1, message="often")
    press(olga, "billing_alertevent_mute", event.pk, hours=8)
    event.refresh_from_db()
    assert event.state == "muted"
    press(olga, "billing_alertevent_unmute", event.pk)
    press(olga, "billing_alertevent_resolve", event.pk, reason="the job was stopped")
    event.refresh_from_db()
    assert (event.state, event.resolved_by) == ("resolved", office.olga)
    assert [step.verb for step in event.steps.all()] == ["resolved", "unmuted", "muted"]


def test_the_page_of_an_alert_has_its_history_and_the_verbs_that_fit(office: Office, olga: Client) -> None:
    event = office.row(AlertEvent)
    url = url_of(AlertEvent, "change", event.pk)
    before = olga.get(url).content.decode()
    assert f"/{event.pk}/mute" in before
    press(olga, "billing_alertevent_resolve", event.pk, reason="the job was stopped")
    page = olga.get(url).content.decode()
    assert "the job was stopped" in page
    assert f"/{event.pk}/mute" not in page
    assert f"/{event.pk}/resolve" not in page


def test_a_mute_is_for_a_time_that_is_offered(office: Office, olga: Client) -> None:
    event = office.row(AlertEvent)
    press(olga, "billing_alertevent_mute", event.pk, hours=100_000)
    event.refresh_from_db()
    assert event.muted_until is None


def test_a_channel_is_tried(office: Office, olga: Client, mailoutbox: list[Any], settings: Any) -> None:
    mail = AlertChannel.objects.create(
        tenant=office.acme, name="desk", kind="email", target="desk@example.com"
    )
    press(olga, "billing_alertchannel_send_test", mail.pk)
    assert [(letter.to, letter.subject) for letter in mailoutbox] == [
        (["desk@example.com"], "[acme] Test of this channel: The channel desk works: alerts arrive here")
    ]
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    hook = AlertChannel.objects.create(
        tenant=office.acme, name="hook", kind="slack", target="http://127.0.0.1:9/"
    )
    press(olga, "billing_alertchannel_send_test", hook.pk)
    assert "It did not arrive" in olga.get(url_of(AlertChannel, "change", hook.pk)).content.decode()
    assert not AlertDelivery.objects.filter(channel__in=[mail, hook]).exists()


def test_an_alert_is_acknowledged(office: Office, olga: Client) -> None:
    event = office.row(AlertEvent)
    press(olga, "billing_alertevent_acknowledge", event.pk)
    event.refresh_from_db()
    assert event.acknowledged_by == office.olga
    second = AlertEvent.objects.create(tenant=office.acme, metric="x", value=1, threshold=1, message="again")
    olga.post(
        url_of(AlertEvent, "changelist"),
        {"action": "acknowledge_selected", "_selected_action": [second.pk], "post": "yes"},
    )
    second.refresh_from_db()
    assert second.acknowledged_at is not None


def test_a_dead_delivery_is_tried_again(office: Office, olga: Client) -> None:
    delivery = office.row(AlertDelivery)
    AlertDelivery.objects.filter(pk=delivery.pk).update(status="dead", attempts=8)
    press(olga, "billing_alertdelivery_try_again", delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)


def test_secrets_are_written_and_kept(office: Office, olga: Client) -> None:
    channel, provider = office.row(AlertChannel), office.row(Provider)
    fields = {
        "tenant": office.acme.pk,
        "name": "ops",
        "kind": "webhook",
        "target": "https://example.com/x",
        "is_active": "on",
    }
    olga.post(url_of(AlertChannel, "change", channel.pk), {**fields, "new_secret": ""})
    channel.refresh_from_db()
    assert (channel.name, channel.secret) == ("ops", HOOK_SECRET)
    olga.post(url_of(AlertChannel, "change", channel.pk), {**fields, "new_secret": "another-secret"})
    channel.refresh_from_db()
    assert channel.secret == "another-secret"
    fields = {
        "name": provider.name,
        "kind": "openai",
        "base_url": "https://example.com/v1",
        "limits": "{}",
        "timeouts": "{}",
    }
    olga.post(url_of(Provider, "change", provider.pk), {**fields, "new_api_key": ""})
    provider.refresh_from_db()
    assert provider.api_key == PROVIDER_KEY
    wrong = olga.post(url_of(Provider, "change", provider.pk), {**fields, "limits": '{"rps": 5}'})
    assert "limits.rps is not known here" in wrong.content.decode()
    wrong = olga.post(url_of(Provider, "change", provider.pk), {**fields, "kind": "azure"})
    assert "a provider of kind azure needs api_version" in wrong.content.decode()
    options = '{"api_version": "2024-10-21"}'
    olga.post(url_of(Provider, "change", provider.pk), {**fields, "kind": "azure", "options": options})
    provider.refresh_from_db()
    assert (provider.kind, provider.options) == ("azure", {"api_version": "2024-10-21"})


@pytest.mark.parametrize("target", ["http://10.0.0.1/hook", "ftp://example.com", "nobody"])
def test_a_channel_needs_a_target_of_its_kind(
    target: str, office: Office, olga: Client, settings: Any
) -> None:
    settings.WEBHOOKS_MAY_BE_PRIVATE = False
    for kind in ("webhook", "email"):
        fields = {"tenant": office.acme.pk, "name": kind, "kind": kind, "target": target, "new_secret": "s"}
        assert olga.post(url_of(AlertChannel, "add"), fields).status_code == 200
    assert not AlertChannel.objects.filter(target=target).exists()


def test_a_rule_tells_no_strangers(office: Office, olga: Client) -> None:
    channel = AlertChannel.objects.create(
        tenant=office.umbrella, name="theirs", kind="email", target="a@example.com"
    )
    fields = {"tenant": office.acme.pk, "metric": "day_spend", "threshold": "5", "channels": [channel.pk]}
    assert "Not channels of acme" in olga.post(url_of(AlertRule, "add"), fields).content.decode()


def test_fallbacks_are_models(office: Office, olga: Client) -> None:
    model = office.row(LanguageModel)
    fields = {
        "name": model.name, "provider": model.provider_id, "upstream": "x", "kind": "chat", "tier": "simple",
        "context_window": 1000, "max_output_tokens": 100, "capabilities": '["tools"]', "fallbacks": '["no-such"]',
        "weight": 1, "deployments-TOTAL_FORMS": 0, "deployments-INITIAL_FORMS": 0,
    }  # fmt: skip
    assert (
        "no model is called no-such"
        in olga.post(url_of(LanguageModel, "change", model.pk), fields).content.decode()
    )
    assert (
        olga.post(url_of(LanguageModel, "change", model.pk), {**fields, "fallbacks": "[]"}).status_code == 302
    )


def test_a_tenants_cache_is_purged(office: Office, olga: Client) -> None:
    press(olga, "caching_cacheentry_purge_tenant", tenant=office.umbrella.pk, counted=0)
    assert CacheEntry.objects.filter(tenant=office.acme).exists()
    press(
        olga,
        "caching_cacheentry_purge_tenant",
        tenant=office.acme.pk,
        containing="no such question",
        counted=0,
    )
    assert CacheEntry.objects.filter(tenant=office.acme).exists()
    press(olga, "caching_cacheentry_purge_tenant", tenant=office.acme.pk, containing="top up", counted=1)
    assert not CacheEntry.objects.filter(tenant=office.acme).exists()


def test_an_owner_purges_only_their_own(office: Office) -> None:
    press(office.client(office.charlie), "caching_cacheentry_purge_tenant", tenant=office.acme.pk)
    assert CacheEntry.objects.filter(tenant=office.acme).exists()


def test_days_are_rebuilt(office: Office, olga: Client) -> None:
    UsageDaily.objects.all().delete()
    due = RollupDirty.objects.count()
    while due:  # a hundred days at a time; other tests have left theirs
        press(olga, "billing_rollupdirty_rebuild")
        before, due = due, RollupDirty.objects.count()
        assert due < before
    assert UsageDaily.objects.filter(tenant=office.acme).exists()
