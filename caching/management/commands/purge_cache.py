"""`manage.py purge_cache --tenant acme --model gpt-4o`: what the admin's purge does, for scripts."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError

from caching.semantic.eviction import purge
from tenants.models import Tenant
from tenants.people.commands import RecordedCommand


class Command(RecordedCommand):
    help = "Remove a tenant's cached answers that match every given condition, and its whole exact cache."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", required=True, help="slug of the tenant")
        parser.add_argument("--model", help="answers of this model")
        parser.add_argument("--prompt-version", help="answers to this version of the prompt")
        parser.add_argument("--older-than-hours", type=float, help="answers older than this")
        parser.add_argument("--containing", help="answers to questions that contain this text")

    def handle(self, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant '{options['tenant']}'.")
        hours = options["older_than_hours"]
        removed = purge(
            tenant.pk,
            model=options["model"],
            prompt_version=options["prompt_version"],
            older_than=None if hours is None else timedelta(hours=hours),
            containing=options["containing"],
        )
        self.stdout.write(f"{removed} answers of {tenant.slug} forgotten.")
