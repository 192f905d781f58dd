from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db.models.signals import post_migrate


class ConfigConfig(AppConfig):
    name = "config"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # tasks must be sent with our Celery application, in the web workers too, not with Celery's default one
        from config import celery  # noqa: F401
        from config.database.roles import check_logins

        # the pages that need every app come after those of the apps, which `django.contrib.admin` has found by now
        from config.tenant_page import pages  # noqa: F401

        # `llm` is the last of our apps. Django sends no signal for an app without models, like this one.
        post_migrate.connect(
            finish_database, sender=apps.get_app_config("llm"), dispatch_uid="purser.finish_database"
        )
        checks.register(check_logins, checks.Tags.database, deploy=True)


def finish_database(*, using: str = "default", **kwargs: Any) -> None:
    """Runs after the migrations: database functions, the ledger's partitions, and the roles' grants."""
    from billing.ledger import partitions
    from config.database import functions, roles

    if using != "default":
        return
    if functions.is_migrated(using=using):
        functions.apply(using=using)
        partitions.ensure_partitions()
    roles.ensure()
