from django.apps import AppConfig


class ConfigConfig(AppConfig):
    name = "config"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # whoever sends a task, the web workers too, sends it with our application and not with Celery's default
        from config import celery  # noqa: F401
