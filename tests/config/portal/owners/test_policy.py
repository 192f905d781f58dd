"""The policy in the portal: a short form that changes what it shows and nothing else."""

from typing import Any

from tenants.models import Tenant
from tests.config.portal.conftest import House

STORED: dict[str, Any] = {
    "cache": {"semantic": "static", "threshold": 0.9},
    "hedging": {"after_ms": 900},
    "quotas": {"keys": 7},
}


def stored(house: House) -> dict[str, Any]:
    policy: dict[str, Any] = Tenant.objects.get(pk=house.acme.pk).policy
    return policy


def filled(house: House, **changes: Any) -> dict[str, Any]:
    """The form as a browser sends it, with some changes."""
    form = house.client(house.alice).get(house.at("policy/")).context["form"]
    sent = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in {**sent, **changes}.items() if value not in (False, None)}


def test_it_works(house: House) -> None:
    Tenant.objects.filter(pk=house.acme.pk).update(policy=STORED)
    sent = filled(house, cache_exact=False, self_service_keys=2, user_rate_limits_rpm=60)
    answer = house.client(house.alice).post(house.at("policy/"), sent)
    assert answer.status_code == 302
    assert stored(house) == {
        **STORED,
        "cache": {**STORED["cache"], "exact": False},
        "self_service": {"keys": 2},
        "user_rate_limits": {"rpm": 60},
    }
    assert house.acme.history.latest().history_user == house.alice


def test_what_nobody_changed_is_not_written(house: House) -> None:
    Tenant.objects.filter(pk=house.acme.pk).update(policy=STORED)
    house.client(house.alice).post(house.at("policy/"), filled(house))
    assert stored(house) == STORED


def test_a_wrong_value_is_said_and_changes_nothing(house: House) -> None:
    page = house.client(house.alice).post(house.at("policy/"), filled(house, self_service_keys=1000))
    assert page.status_code == 200
    assert "less than or equal to 100" in page.text
    assert stored(house) == {}


def test_somebody_elses_change_is_not_overwritten(house: House) -> None:
    sent = filled(house, cache_exact=False)
    Tenant.objects.filter(pk=house.acme.pk).update(policy=STORED)
    page = house.client(house.alice).post(house.at("policy/"), sent)
    assert "changed this policy meanwhile" in page.text
    assert stored(house) == STORED
