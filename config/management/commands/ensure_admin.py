"""`manage.py ensure_admin NAME`: an operator who may do everything, with PURSER_ADMIN_PASSWORD[_FILE]."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import environment


class Command(BaseCommand):
    help = "Create the operator, or set its password anew."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, **options: Any) -> None:
        password = environment.text("PURSER_ADMIN_PASSWORD")
        if not password:
            raise CommandError("Set PURSER_ADMIN_PASSWORD.")
        user, created = get_user_model().objects.get_or_create(
            username=options["username"], defaults={"is_staff": True, "is_superuser": True}
        )
        if created or not user.check_password(password):
            user.set_password(password)
            user.save(update_fields=["password"])
