"""`manage.py estimates`: how holds have compared with bills, per model."""

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.timezone import now

from billing.estimates.accuracy import Accuracy, accuracy, learn
from tenants.models import Tenant

COLUMNS = (
    "provider/model", "prompts", "calls", "held/billed", "p50", "short", "input p50", "input p99.5", "factor",
    "output p50", "p95",
)  # fmt: skip


class Command(BaseCommand):
    help = "What was held for calls and what they cost, per model, and the factor learned from it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, default=14, help="of the last so many days (14)")
        parser.add_argument("--tenant", default="", help="of this tenant's calls only")
        parser.add_argument(
            "--learn", action="store_true", help="also write the factors down, for all tenants"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object per line instead of a table")

    def handle(self, *args: Any, days: int, tenant: str, json: bool, **options: Any) -> None:
        if options["learn"]:
            learn()
        tenant_id = None
        if (
            tenant
            and (tenant_id := Tenant.objects.filter(slug=tenant).values_list("pk", flat=True).first()) is None
        ):
            raise CommandError(f"There is no tenant '{tenant}'.")
        found = accuracy(since=now() - timedelta(days=days), tenant_id=tenant_id)
        if json:
            self._print_json(found)
        elif not found:
            self.stdout.write(f"No call of the last {days} days was billed by its provider's figures.")
        else:
            self._print_table(found)

    def _print_json(self, found: list[Accuracy]) -> None:
        for one in found:
            figures = {name: getattr(one, name) for name in one.__dataclass_fields__}
            derived = {"hold_ratio": one.hold_ratio, "input_factor": one.input_factor}
            self.stdout.write(json.dumps(figures | derived, default=str))

    def _print_table(self, found: list[Accuracy]) -> None:
        rows = [COLUMNS, *(_row(one) for one in found)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            cells = [cell.ljust(width) if column < 2 else cell.rjust(width)
                     for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
            self.stdout.write("  ".join(cells).rstrip())


def _row(one: Accuracy) -> tuple[str, ...]:
    figures = (
        one.hold_ratio, one.hold_ratio_p50, one.short, one.input_ratio_p50, one.input_ratio_high, one.input_factor,
        one.output_p50, one.output_p95,
    )  # fmt: skip
    shown = ("-" if figure is None else str(figure) for figure in figures)
    return f"{one.provider}/{one.model}", one.shape, str(one.samples), *shown
