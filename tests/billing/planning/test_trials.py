"""Beside each forecast stands how good the tenant's forecasts have been."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from benchmarks.planning.shapes import SHAPES
from billing.models import ForecastTrial
from billing.planning.trials import measure, try_out
from tenants.models import Tenant
from tests.billing.planning.days import TODAY, spend
from tests.world import new_tenant

AT = datetime(2026, 9, 15, 4, 37, tzinfo=UTC)


@pytest.mark.django_db
def test_it_works(tenant: Tenant) -> None:
    spend(tenant, [10 + n % 5 for n in range(182)], until=TODAY)
    assert measure(at=AT) >= 1
    trial = ForecastTrial.objects.get(tenant=tenant)
    assert trial.looks > 15
    assert trial.covered >= trial.looks * 0.8
    assert trial.error_percent is not None
    assert trial.error_percent < 10


@pytest.mark.django_db
def test_who_is_not_measured_any_more_has_no_figure(tenant: Tenant) -> None:
    spend(tenant, [10] * 182, until=TODAY)
    measure(at=AT)
    measure(at=AT + timedelta(days=365))
    assert not ForecastTrial.objects.filter(tenant=tenant).exists()


@pytest.mark.django_db
def test_who_is_new_has_no_looks_to_count() -> None:
    young = new_tenant()
    spend(young, [5] * 10, until=TODAY)
    measure(at=AT)
    assert ForecastTrial.objects.get(tenant=young).looks == 0


def test_nine_of_ten_intervals_have_the_result() -> None:
    """On histories of every shape; `make bench-forecast` prints more of them, shape by shape."""
    rng, first = np.random.default_rng(3), date(2026, 1, 7)
    histories = np.array([shape(rng, 182, first) for shape in SHAPES.values() for _ in range(8)])
    trials = try_out(histories, first)
    looks = sum(trial.looks for trial in trials)
    assert looks > 1000
    assert 0.86 < sum(trial.covered for trial in trials) / looks < 0.94
    assert all(trial.looks == trial.covered + trial.below + trial.above for trial in trials)


def test_a_trial_sees_nothing_of_what_came_after() -> None:
    rng, first = np.random.default_rng(4), date(2026, 1, 7)
    calm = SHAPES["steady"](rng, 182, first)
    jumped = calm.copy()
    jumped[-20:] *= 50
    (trial,) = try_out(np.array([jumped]), first)
    assert trial.above > 0  # what nobody could know is missed, and said to be
