"""Envelopes come and go: those that are long over leave nothing behind, and the ledger keeps their runs."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from billing.budgets.raise_requests import request_raise
from billing.models import Budget, BudgetRaise, BudgetWindow, RunEnvelope
from billing.runs import envelopes
from billing.runs.sharing import Sharing
from tenants.models import Tenant
from tenants.policy import EnvelopePolicy
from tests.world import new_tenant

pytestmark = pytest.mark.django_db
POLICY = EnvelopePolicy(opens="asked", usd=2, most_usd=10, most_open=3, own_raises=1)


def opened(tenant: Tenant, run: str, person: str = "alice") -> RunEnvelope:
    id = envelopes.open_run(tenant, person=person, run=run, usd=Decimal(2), policy=POLICY)
    envelope = RunEnvelope.objects.select_related("budget").get(pk=id)
    BudgetWindow.objects.create(
        budget=envelope.budget, tenant=tenant, subject=run, unit="usd", starts_at=now(), spent=1
    )
    return envelope


def end(envelope: RunEnvelope, *, days_ago: int) -> None:
    RunEnvelope.objects.filter(pk=envelope.pk).update(expires_at=now() - timedelta(days=days_ago))


def test_it_works() -> None:
    tenant = new_tenant()
    old, asked, recent, running = (opened(tenant, run, f"p-{run}") for run in ("old", "asked", "new", "on"))
    envelopes.raise_run(old, extra_amount=Decimal(1), reason="more", acting_user=None)
    request_raise(asked.budget, extra_amount=Decimal(1), ends_at=asked.expires_at, reason="please")
    for envelope, days in ((old, 100), (asked, 100), (recent, 1)):
        end(envelope, days_ago=days)
    assert envelopes.close_ended() == 3
    assert envelopes.prune_ended(before=now() - envelopes.KEPT_FOR) == 1
    assert set(RunEnvelope.objects.filter(tenant=tenant)) == {asked, recent, running}
    assert Budget.everything.filter(tenant=tenant).count() == 3
    assert BudgetWindow.objects.filter(tenant=tenant).count() == 3
    assert not BudgetRaise.objects.filter(budget_id=old.pk).exists()


def test_a_thousand_cost_as_many_queries_as_one() -> None:
    tenant = new_tenant()
    counts = []
    for number in (1, 30):
        for one in range(number):
            opened(tenant, f"run-{number}-{one}", f"p-{number}-{one}")
        with CaptureQueriesContext(connection) as queries:
            assert len(envelopes.states_of(tenant)) >= number
        counts.append(len(queries))
    assert counts == [1, 1]


def test_one_person_has_so_many_open_and_others_theirs() -> None:
    tenant = new_tenant()
    for number in range(3):
        opened(tenant, f"run-{number}")
    assert opened_again(tenant, "run-0") == RunEnvelope.objects.get(tenant=tenant, run="run-0").pk
    with pytest.raises(ValidationError, match="3 runs are open"):
        opened_again(tenant, "run-3")
    opened(tenant, "run-3", "bob")
    opened(new_tenant(), "run-3")


def opened_again(tenant: Tenant, run: str) -> int:
    return envelopes.open_run(tenant, person="alice", run=run, usd=Decimal(2), policy=POLICY)


def test_a_budget_that_somebody_set_is_none_and_the_other_way_round() -> None:
    tenant = new_tenant()
    opened(tenant, "run-1")
    assert not Budget.objects.filter(tenant=tenant).exists()
    standing = Budget.objects.create(
        tenant=tenant, scope="tenant", unit="usd", period="day", limit_amount=Decimal(1)
    )
    assert list(tenant.budgets.all()) == [standing]
    assert len(envelopes.states_of(tenant)) == 1


def shared(tenant: Tenant, run: str, others: str, *, person: str = "alice") -> RunEnvelope:
    sharing = Sharing.of(others, policy=POLICY, decides=True)
    id = envelopes.open_run(tenant, person=person, run=run, usd=Decimal(2), policy=POLICY, sharing=sharing)
    return RunEnvelope.objects.get(pk=id)


def test_a_run_has_one_shared_envelope_at_a_time() -> None:
    tenant, other = new_tenant(), new_tenant()
    first = shared(tenant, "T-1", "bob")
    assert shared(tenant, "T-1", "carol, bob").shared_with == ["user/bob", "user/carol"]  # names come in
    for person in ("bob", "dora"):  # who draws from it already, and who does not
        with pytest.raises(ValidationError, match="it has an envelope already"):
            shared(tenant, "T-1", "mallory", person=person)
    assert shared(other, "T-1", "bob").tenant == other
    end(first, days_ago=1)
    assert shared(tenant, "T-1", "bob", person="dora").owner == "user/dora"
    with pytest.raises(ValidationError, match="the run is over"):
        envelopes.share_run(first, sharing=Sharing(("*",)), person="alice")


def test_who_may_share_and_with_whom_is_bounded() -> None:
    assert Sharing.of(" , ", policy=POLICY, decides=False) is None
    with pytest.raises(ValidationError, match="leaves sharing to its owners"):
        Sharing.of("bob", policy=POLICY, decides=False)
    trusting = EnvelopePolicy(opens="asked", shared_by="people")
    assert Sharing.of("bob,*", policy=trusting, decides=False) == Sharing(("*", "user/bob"))
    for odd in ("b" * 201, "bo\nb", "b\x00b"):
        with pytest.raises(ValidationError, match="user ids"):
            Sharing.of(odd, policy=trusting, decides=True)
    many = Sharing.of(",".join(map(str, range(101))), policy=trusting, decides=True)
    assert many is not None
    with pytest.raises(ValidationError, match="at most 100"):
        many.added_to([])
