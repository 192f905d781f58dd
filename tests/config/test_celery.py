"""The schedule of beat names tasks that exist, and a late run never piles up."""

from datetime import timedelta

from config.celery import app


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled
    assert scheduled <= set(app.tasks)


def test_a_run_that_is_late_expires_before_it_piles_up() -> None:
    for entry in app.conf.beat_schedule.values():
        if isinstance(entry["schedule"], timedelta):
            assert entry["options"]["expires"] <= max(5, entry["schedule"].total_seconds())
