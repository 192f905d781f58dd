"""The demonstration of `make run`: one call of each kind, with real questions, shown in a table.

Invariant: it uses only what a tenant uses (the official SDKs, the HTTP API) and what finance sees (the month's report).
A step that does not do what its row claims fails the run.
"""

import io
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anthropic
import openai
import yaml
from django.conf import settings
from rich.console import Console
from rich.table import Table

from billing.models import AlertDelivery
from billing.months.parts import Measures
from billing.months.report import month_report
from tenants.models import Tenant

QUESTIONS = Path(settings.BASE_DIR) / "demo" / "questions.yaml"
MAX_TOKENS = 200
TRIAL_MAX_TOKENS = 30  # small holds: the budget fills past its alert before the first refusal
BATCH_TIMEOUT_SECONDS = 90
ALERT_TIMEOUT_SECONDS = 45


class DemonstrationFailed(Exception):
    """A step did not do what the product promises."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. USD amounts are exact."""

    what: str
    asked: str
    cache: str = "-"
    model: str = "-"
    why: str = ""
    tokens: str = "-"
    cost_usd: Decimal | None = None
    list_cost_usd: Decimal | None = None
    budget_left: str = "-"


class Demonstration:
    """Runs the calls in order. `facts` is the content of demo.json."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.console = Console(width=max(142, Console().width))
        self.questions = yaml.safe_load(QUESTIONS.read_text())
        self.openai = openai.OpenAI(
            base_url=f"{facts['base_url']}/v1", api_key=facts["api_key"], max_retries=0
        )
        self.anthropic = anthropic.Anthropic(
            base_url=facts["base_url"], api_key=facts["api_key"], max_retries=0
        )
        self.rows: list[Row] = []
        # a number in the system prompt separates the cached answers of different runs
        self.system = f"You are the support desk of a bank. Be brief. Ticket series {int(time.time())}."

    def run(self) -> None:
        """Make every call, print the table, then the month's report of this traffic."""
        steps: list[Callable[[], Row]] = [
            self.miss,
            self.exact_hit,
            self.semantic_hit,
            self.routed_simple,
            self.routed_complex,
            self.streamed,
            self.compressed,
            self.anthropic_model,
            self.anthropic_sdk,
            self.refused,
            self.batch,
        ]
        for number, step in enumerate(steps, start=1):
            self.console.print(
                f"  [{number}/{len(steps)}] {(step.__doc__ or '').splitlines()[0]}", style="dim"
            )
            self.rows.append(step())
        alert = self.alert()
        self.console.print(self._table())
        self.console.print(f"[bold]Alert delivered[/bold]: {alert}\n")
        self._print_report()

    def miss(self) -> Row:
        """A new question: it goes to the model that was named."""
        return self._ask("miss", self.questions["first"], expect={"cache": "miss"})

    def exact_hit(self) -> Row:
        """The same question again: answered from the exact cache, for nothing."""
        return self._ask("exact hit", self.questions["again"], expect={"cache": "exact"})

    def semantic_hit(self) -> Row:
        """The same in other words: answered from the semantic cache."""
        return self._ask("semantic hit", self.questions["paraphrase"], expect={"cache": "semantic"})

    def routed_simple(self) -> Row:
        """Model `auto`, an easy question: the cheap tier."""
        return self._ask("routed", self.questions["simple"], model="auto", expect={"tier": "simple"})

    def routed_complex(self) -> Row:
        """Model `auto`, a hard question: the strong tier."""
        return self._ask("routed", self.questions["complex"], model="auto", expect={"tier": "complex"})

    def streamed(self) -> Row:
        """Streamed with server-sent events; the receipt is in the last one."""
        question, purser = self.questions["streamed"], None
        with self.openai.chat.completions.create(
            model="gpt-4o-mini",
            max_tokens=MAX_TOKENS,
            messages=self._messages(question),
            stream=True,
            user="support-desk",
        ) as stream:
            events = 0
            for chunk in stream:
                events += 1
                purser = (chunk.model_extra or {}).get("purser") or purser
        if purser is None or events < 3:
            raise DemonstrationFailed(f"the stream had {events} events and {'a' if purser else 'no'} receipt")
        return self._row("streamed", question, purser, why=f"{events} events")

    def compressed(self) -> Row:
        """A prompt with pretty-printed JSON and repeated examples: compressed before it is sent."""
        payments = [
            {"id": n, "merchant": f"Shop {n % 4}", "amount": f"{n}.50", "status": "pending"}
            for n in range(40)
        ]
        example = "Example: a payment is pending until the merchant settles it, which takes up to seven days."
        question = (
            f"{example}\n\n{example}\n\nWhy are these payments pending?\n\n{json.dumps(payments, indent=4)}"
        )
        return self._ask(
            "compressed", question, shown="Why are these payments pending? (40 payments as JSON)"
        )

    def anthropic_model(self) -> Row:
        """A Claude model through the OpenAI SDK."""
        return self._ask(
            "Claude, OpenAI SDK",
            self.questions["anthropic"],
            model="claude-haiku-4-5",
            expect={"provider": "anthropic"},
        )

    def anthropic_sdk(self) -> Row:
        """A Claude model through the Anthropic SDK."""
        question = self.questions["messages"]
        message = self.anthropic.messages.create(
            model="claude-haiku-4-5",
            max_tokens=MAX_TOKENS,
            system=self.system,
            messages=[{"role": "user", "content": question}],
            metadata={"user_id": "support-desk"},
        )
        purser = (message.model_extra or {})["purser"]
        return self._row("Claude, Anthropic SDK", question, purser)

    def refused(self) -> Row:
        """A user whose budget for the day is used up: refused before anything is spent."""
        question = self.questions["refused"]
        for number in range(50):
            try:
                self._create(
                    f"{question} ({number})", model="gpt-4o-mini", user="trial", max_tokens=TRIAL_MAX_TOKENS
                )
            except openai.RateLimitError as error:
                detail = error.body if isinstance(error.body, dict) else {}
                if detail.get("code") != "budget_exceeded":
                    raise DemonstrationFailed(f"expected budget_exceeded, got {error}") from error
                return Row(
                    "refused by budget",
                    question,
                    cache="-",
                    model="none called",
                    why=str(detail.get("message", "")),
                )
        raise DemonstrationFailed("50 calls of the trial user were not refused by its budget")

    def batch(self) -> Row:
        """Five questions that may wait, as a batch at half price."""
        lines = [
            {
                "custom_id": f"question-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "gpt-4o-mini",
                    "max_tokens": MAX_TOKENS,
                    "messages": self._messages(question),
                },
            }
            for number, question in enumerate(self.questions["batch"], start=1)
        ]
        content = "\n".join(json.dumps(line) for line in lines).encode()
        uploaded = self.openai.files.create(file=("questions.jsonl", io.BytesIO(content)), purpose="batch")
        batch = self.openai.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        deadline = time.monotonic() + BATCH_TIMEOUT_SECONDS
        while batch.status not in ("completed", "failed", "expired", "cancelled"):
            if time.monotonic() > deadline:
                raise DemonstrationFailed(
                    f"the batch is still {batch.status} after {BATCH_TIMEOUT_SECONDS} s"
                )
            time.sleep(1)
            batch = self.openai.batches.retrieve(batch.id)
        if batch.status != "completed" or not batch.output_file_id:
            raise DemonstrationFailed(f"the batch ended {batch.status}: {batch.errors}")
        results = [
            json.loads(line) for line in self.openai.files.content(batch.output_file_id).text.splitlines()
        ]
        pursers = [result["response"]["body"]["purser"] for result in results]
        cost, listed = (
            sum((Decimal(p[name]) for p in pursers), Decimal(0)) for name in ("cost_usd", "list_cost_usd")
        )
        tokens = sum(p["tokens"]["input"] + p["tokens"]["output"] for p in pursers)
        if cost * 2 != listed:
            raise DemonstrationFailed(f"a batch of {listed} USD at list price cost {cost} USD, not half")
        asked = f"{len(results)} questions, first: {self.questions['batch'][0]}"
        return Row("batch, half price", asked, "-", "gpt-4o-mini", "may wait", str(tokens), cost, listed)

    def alert(self) -> str:
        """The trial user's budget passed an alert threshold: a signed webhook and an e-mail report it, once a day."""
        deadline = time.monotonic() + ALERT_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            deliveries = AlertDelivery.objects.filter(
                event__tenant__slug="demo", event__metric="budget_percent", delivered_at__gte=_midnight()
            )
            delivered = {
                delivery.channel.kind: delivery for delivery in deliveries.select_related("event", "channel")
            }
            if {"webhook", "email"} <= delivered.keys():
                message = delivered["webhook"].event.message
                return f"{message}\n  {self._webhook_received()}; e-mail in {settings.PURSER_HOME}/mail"
            time.sleep(1)
        raise DemonstrationFailed(f"no alert was delivered within {ALERT_TIMEOUT_SECONDS} s")

    def _webhook_received(self) -> str:
        """What the receiver got. An earlier run's alert is not sent again: one alert per budget and day."""
        with urllib.request.urlopen(f"{self.facts['sandbox_control_url']}/hooks") as response:  # noqa: S310 our own sandbox
            hooks = json.load(response)["hooks"]
        if not hooks:
            return "delivered by an earlier run, and not twice"
        if not all("x-purser-signature" in {name.lower() for name in hook["headers"]} for hook in hooks):
            raise DemonstrationFailed("a webhook came without its signature")
        return "webhook received, signed"

    def _ask(
        self,
        what: str,
        question: str,
        *,
        model: str = "gpt-4o-mini",
        expect: dict[str, str] | None = None,
        shown: str = "",
    ) -> Row:
        purser = self._create(question, model=model, user="support-desk")
        seen = {**purser, "tier": (purser.get("route") or {}).get("tier")}
        for name, value in (expect or {}).items():
            if seen[name] != value:
                raise DemonstrationFailed(f"{what}: expected {name} {value}, got {seen[name]} ({purser})")
        return self._row(what, shown or question, purser)

    def _create(
        self, question: str, *, model: str, user: str, max_tokens: int = MAX_TOKENS
    ) -> dict[str, Any]:
        completion = self.openai.chat.completions.create(
            model=model, max_tokens=max_tokens, messages=self._messages(question), user=user
        )
        return dict((completion.model_extra or {})["purser"])

    def _messages(self, question: str) -> list[Any]:
        return [{"role": "system", "content": self.system}, {"role": "user", "content": question}]

    def _row(self, what: str, asked: str, purser: dict[str, Any], *, why: str = "") -> Row:
        tokens, remaining = purser["tokens"], purser["budget_remaining"]
        before, after = tokens["prompt_before_compression"], tokens["prompt_after_compression"]
        shown = f"{tokens['input']} + {tokens['output']}"
        if before and after and before > after:
            shown += f"\nprompt {before}\n-> {after}"
        if purser["cache"] in ("exact", "semantic"):
            why = why or f"similarity {purser['similarity']:.3f}"
        return Row(
            what,
            asked,
            purser["cache"],
            purser["model"],
            why or (purser.get("route") or {}).get("reason", ""),
            shown,
            Decimal(purser["cost_usd"]),
            Decimal(purser["list_cost_usd"]),
            f"{Decimal(remaining['remaining']).normalize():f}\n{remaining['unit']}" if remaining else "-",
        )

    def _table(self) -> Table:
        table = Table(title="What each call cost, and what it would have cost", show_lines=True)
        for name, width in (("asked", 38), ("cache", 8), ("model", 16), ("why", 24), ("tokens", 12)):
            table.add_column(name, overflow="fold", min_width=width, max_width=width)
        for name in ("cost USD", "list USD", "saved USD", "budget left"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            saved = (
                None
                if row.cost_usd is None or row.list_cost_usd is None
                else row.list_cost_usd - row.cost_usd
            )
            money = [_money(row.cost_usd), _money(row.list_cost_usd), _money(saved)]
            table.add_row(
                f"[bold]{row.what}[/bold]\n{_short(row.asked)}",
                row.cache,
                row.model,
                row.why,
                row.tokens,
                *money,
                row.budget_left,
            )
        return table

    def _print_report(self) -> None:
        """The month so far, as finance gets it: by user, by model, and the way from list price to what is paid."""
        tenant = Tenant.objects.get(slug="demo")
        month = datetime.now(UTC).astimezone(ZoneInfo(tenant.timezone)).strftime("%Y-%m")
        report = month_report(tenant, month=month)
        table = Table(title=f"{report.tenant_name}: {month}, summed from the ledger")
        for name in ("", "requests", "from cache", "tokens", "list USD", "paid USD", "saved USD"):
            table.add_column(name, justify="left" if not name else "right")
        for section in report.sections:
            if section.name not in ("users", "models"):
                continue
            table.add_row(f"[bold]{section.title}[/bold]")
            for group in section.groups:
                table.add_row(f"  {' '.join(group.labels) or '(none)'}", *_measures(group.measures))
            table.add_section()
        table.add_row("[bold]all[/bold]", *_measures(report.totals))
        self.console.print(table)
        steps = ", ".join(f"{step.name.replace('_', ' ')} {step.amount_usd:f}" for step in report.waterfall)
        self.console.print(f"From list to paid, USD: {steps}")
        self.console.print(
            f"As a file: .venv/bin/python manage.py report --tenant demo --month {month} --format xlsx",
            style="dim",
        )


def _measures(measures: Measures) -> list[str]:
    tokens = (
        measures.input_tokens
        + measures.cache_read_tokens
        + measures.cache_write_tokens
        + measures.output_tokens
    )
    money = (
        measures.list_cost_usd,
        measures.billed_cost_usd,
        measures.saved_usd,
    )
    return [
        str(measures.requests),
        str(measures.cache_hits),
        str(tokens),
        *(f"{amount:.8f}" for amount in money),
    ]


def _midnight() -> datetime:
    """The start of today in UTC, less the hours by which a tenant's day may have begun before."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(hours=14)


def _money(amount: Decimal | None) -> str:
    return "-" if amount is None else f"{amount:.8f}"


def _short(text: str, *, length: int = 120) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
