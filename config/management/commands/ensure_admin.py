"""`manage.py ensure_admin NAME`: creates an operator who may do everything, with PURSER_ADMIN_PASSWORD[_FILE]."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from config import environment
from tenants.people import audit
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "Create the operator. An existing one keeps their password, unless --reset-password is given."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reset-password", action="store_true", help="of an operator who lost theirs")

    def handle(self, *args: Any, **options: Any) -> None:
        password = environment.text("PURSER_ADMIN_PASSWORD")
        if not password:
            raise CommandError("Set PURSER_ADMIN_PASSWORD.")
        users = get_user_model().objects
        user = users.filter(username=options["username"]).first()
        if user is not None and not options["reset_password"]:
            self.stdout.write(f"{options['username']} exists; the password is unchanged.")
            return
        user = user or users.model(username=options["username"], is_staff=True, is_superuser=True)
        try:
            validate_password(password, user)
        except ValidationError as error:
            raise CommandError(f"PURSER_ADMIN_PASSWORD: {' '.join(error.messages)}") from None
        user.set_password(password)
        is_new = user.pk is None
        user.save()
        audit.record("created" if is_new else "reset the password", about=user)
