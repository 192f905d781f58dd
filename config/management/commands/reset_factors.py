"""`manage.py reset_factors NAME --reason "..."`: for somebody who lost their second factors."""

from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from tenants.people import audit
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = (
        "Remove a person's second factors and passkeys, and end their sessions. It stands in the audit log."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--reason", required=True, help="who asked, and how you know that it was they")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"Nobody is called {options['username']}.")
        removed, _ = Authenticator.objects.filter(user=user).delete()
        for session in UserSession.objects.filter(user=user):
            session.end()
        audit.record("reset second factors", about=user, name="a command", reason=options["reason"])
        self.stdout.write(
            f"{removed} factors of {user.get_username()} are removed, and their sessions ended."
        )
