"""Every task has its queue and its limits, and no message is handed out twice because its task is slow."""

from datetime import timedelta

from config.celery import app
from config.work.queues import QUEUES, ROUTES, VISIBILITY_SECONDS
from config.work.retries import LONGEST_PAUSE_SECONDS, MOST_RETRIES


def ours() -> set[str]:
    app.loader.import_default_modules()
    return {name for name in app.tasks if not name.startswith("celery.")}


def test_it_works() -> None:
    """Each task has one queue, and there is no queue for a task that is gone."""
    assert ours() == set(ROUTES)


def test_each_task_goes_to_its_queue_and_ends_within_its_limits() -> None:
    for name in ours():
        queue = ROUTES[name]
        assert app.amqp.router.route({}, name)["queue"].name == queue.name
        assert (app.tasks[name].soft_time_limit, app.tasks[name].time_limit) == (
            queue.soft_seconds,
            queue.hard_seconds,
        )


def test_no_message_becomes_visible_again_while_its_task_may_run() -> None:
    for queue in QUEUES:
        assert queue.soft_seconds < queue.hard_seconds < VISIBILITY_SECONDS
    assert app.conf.broker_transport_options["visibility_timeout"] == VISIBILITY_SECONDS
    assert LONGEST_PAUSE_SECONDS < VISIBILITY_SECONDS  # of a retry that waits inside a worker


def test_a_daily_task_is_tried_again_and_a_tick_is_not() -> None:
    ours()
    assert app.tasks["billing.tasks.close_months"].max_retries == MOST_RETRIES
    for entry in app.conf.beat_schedule.values():
        is_tick = isinstance(entry["schedule"], timedelta)
        assert app.tasks[entry["task"]].max_retries == (0 if is_tick else MOST_RETRIES)


def test_messages_are_kept_until_their_task_has_ended() -> None:
    ours()
    assert all(app.tasks[name].acks_late and app.tasks[name].reject_on_worker_lost for name in ROUTES)
