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
            make_database_roles, sender=apps.get_app_config("llm"), dispatch_uid="purser.database_roles"
        )
        checks.register(check_logins, checks.Tags.database, deploy=True)


def make_database_roles(*, using: str = "default", **kwargs: Any) -> None:
    """What the migrations made is given to the roles that use it."""
    from config.database import roles as database_roles

    if using == "default":
        database_roles.ensure()
