"""`manage.py verify_statements`: recompute the chain of closed months and print the first break."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import Statement
from billing.months.statements import first_break
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Recompute every closed month's digest from the ledger; fails at what is not as it was issued."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="slug of one tenant; default: every one")

    def handle(self, *, tenant: str | None, **options: Any) -> None:
        tenants = Tenant.objects.filter(**({"slug": tenant} if tenant else {})).order_by("slug")
        if not tenants and tenant:
            raise CommandError(f"no tenant is called {tenant!r}")
        broken = 0
        for one in tenants:
            found = first_break(one)
            count = Statement.objects.filter(tenant=one).count()
            broken += found is not None
            self.stdout.write(f"{one.slug}: {count} statements, {found or 'the chain holds'}")
        if broken:
            raise CommandError(f"{broken} chains are broken")
