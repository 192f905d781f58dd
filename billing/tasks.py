"""The Celery tasks of billing.

Invariant: each task calls one function, takes no arguments and may run twice at the same time.
"""

import time
from typing import Final

from celery import shared_task
from django.utils.timezone import now

from billing import incidents as alert_incidents
from billing.alerts import budget_watches, watching
from billing.alerts import outbox as alerts
from billing.alerts import spans as alert_spans
from billing.budgets import raise_requests
from billing.contracts import prepaid
from billing.deliveries import outbox as report_outbox
from billing.estimates import accuracy as estimate_accuracy
from billing.ledger import partitions, reaper, rollups, unread
from billing.months import closing
from billing.months.jobs import approving as month_approving
from billing.months.jobs import asking as month_asking
from billing.months.jobs import keeping as month_files
from billing.months.jobs import working as month_jobs
from billing.planning import events as feature_events
from billing.planning import trials as forecast_trials
from billing.prices import importing as price_import
from billing.rerating import backdated as backdated_prices
from billing.runs import envelopes
from config.work import stopping

ROUND_SECONDS: Final = 30.0


@shared_task
def reap_holds() -> None:
    """End attempts whose worker was lost."""
    reaper.reap()


@shared_task
def ensure_partitions() -> None:
    """Make the ledger's partitions ahead."""
    partitions.ensure_partitions()


@shared_task
def close_months() -> None:
    """Open the running month of every tenant, begin to close what is due where the policy says so, and do the jobs of months
    that wait: closing, also what a lost worker left halfway, and the files of reports; then send what is to be delivered."""
    closing.open_periods()
    month_approving.begin_due()
    month_asking.ask_for_left_closings()
    until = time.monotonic() + ROUND_SECONDS
    while month_jobs.work_next() and time.monotonic() < until and not stopping.is_asked():
        pass
    while report_outbox.deliver_due() and time.monotonic() < until and not stopping.is_asked():
        pass


@shared_task
def import_prices() -> None:
    """Import the list prices of the installed wheel; what changes a rate waits for a person."""
    price_import.import_list_prices()


@shared_task
def read_unread_usage() -> None:
    """Read again what an earlier release could not."""
    unread.read_all_again()


@shared_task
def propose_reratings() -> None:
    """Propose the re-rating of what backdated prices change."""
    backdated_prices.propose_for_backdated()


@shared_task
def deliver_alerts() -> None:
    """Send what is due."""
    alerts.deliver_due()


@shared_task
def watch_spend() -> None:
    """Look for what is unusual, and count it in alerts."""
    watching.watch()


@shared_task
def watch_forecasts() -> None:
    """Look for budgets that will not last, which changes by the hour."""
    watching.look([budget_watches.forecasts], at=now())


@shared_task
def prune_alerts() -> None:
    """Delete alerts, spans and deliveries of reports that were kept long enough."""
    alert_incidents.prune()
    alert_spans.prune(at=now())
    report_outbox.prune(at=now())


@shared_task
def rebuild_rollups() -> None:
    """Sum up the days that changed, for as long as another run is not due."""
    until = time.monotonic() + ROUND_SECONDS
    while rollups.rebuild_dirty() and time.monotonic() < until:
        pass


@shared_task
def learn_estimates() -> None:
    """Learn from what calls cost how far their estimates were off."""
    estimate_accuracy.learn()


@shared_task
def expire_raise_requests() -> None:
    """Expire requests for a raise, envelopes and what was paid ahead, each when its time is over; tell of low balances."""
    raise_requests.expire_requests()
    envelopes.close_ended()
    prepaid.expire_due()
    prepaid.notify_low()


@shared_task
def try_forecasts() -> None:
    """Measure how good the tenants' forecasts have been."""
    forecast_trials.measure()


@shared_task
def prune_events() -> None:
    """Forget the ids of events that cannot be sent again, envelopes that are long over, and the files of old reports."""
    feature_events.prune(at=now())
    envelopes.prune_ended(before=now() - envelopes.KEPT_FOR)
    month_files.forget_old()
