from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db.models.signals import post_migrate


class ConfigConfig(AppConfig):
    name = "config"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # whoever sends a task, the web workers too, sends it with our application and not with Celery's default
        from config import celery  # noqa: F401
        from config.database.roles import check_logins

        # the last of our apps: Django tells nothing of an app without models, as this one
        post_migrate.connect(
            finish_database, sender=apps.get_app_config("llm"), dispatch_uid="purser.finish_database"
        )
        checks.register(check_logins, checks.Tags.database, deploy=True)


def finish_database(*, using: str = "default", **kwargs: Any) -> None:
    """What migrations leave to be done: the functions, the ledger's partitions, and who may use what."""
    from billing.ledger import partitions
    from config.database import functions, roles

    if using != "default":
        return
    if functions.is_migrated(using=using):
        functions.apply(using=using)
        partitions.ensure_partitions()
    roles.ensure()
