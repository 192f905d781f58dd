"""`manage.py batch`: batches from the shell, through the gateway's own API with a key of a tenant.

Invariant: it can be stopped at any moment; the batch goes on by itself, and the command says how to come back to it. The id
of the batch and nothing else goes to standard output before its results; progress goes to standard error.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import openai
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from openai.types import Batch

from llm.management.batch_bar import BatchBar

OVER: Final = frozenset({"completed", "failed", "expired", "cancelled"})
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
FAILURES_IN_A_ROW: Final = 20  # of asking how far it is, some two minutes
LONGEST_FIRST_LINE: Final = 16 * 1024 * 1024
# exit codes beside 0 (all lines answered), 1 (refused, not found) and 2 (wrong arguments)
SOME_FAILED, NOT_COMPLETED, STILL_RUNNING, INTERRUPTED = 3, 4, 5, 130
CODES: Final = (
    "Exit codes: 0 done, all lines answered; 1 refused or not found; 2 wrong arguments; 3 completed, some lines failed;"
    " 4 the batch failed, expired or was cancelled; 5 it still runs (--timeout, or the gateway does not answer);"
    " 130 interrupted: the batch goes on."
)


class Command(BaseCommand):
    help = f"Submit a file of lines as a batch and follow it; look at, cancel, list and download batches. {CODES}"

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, parser_class=CommandParser)
        submit = verbs.add_parser("submit", help="upload FILE and make a batch of it; prints its id")
        status = verbs.add_parser("status", help="how far a batch is")
        cancel = verbs.add_parser("cancel", help="cancel a batch")
        download = verbs.add_parser("download", help="save the results of a batch that is over")
        listing = verbs.add_parser("list", help="the newest batches")
        submit.add_argument("file", type=Path, help="a JSON line for each request, as for OpenAI's batches")
        submit.add_argument("--endpoint", help="default: the url of the first line")
        submit.add_argument("--user", default="", help="who is charged within the tenant")
        submit.add_argument("--feature", default="", help="what it is for")
        listing.add_argument("--limit", type=int, default=20)
        for one in (status, cancel, download):
            one.add_argument("batch", help="its id, batch_...")
        for one in (submit, status):
            one.add_argument("--wait", action="store_true", help="until it is over, with a progress bar")
            one.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait at most")
        for one in (submit, status, download):
            one.add_argument("--output", type=Path, help="where to save the answers")
            one.add_argument("--errors", type=Path, help="where to save the lines that failed")
        for one in (submit, status, cancel, download, listing):
            one.add_argument(
                "--key", help="a key of the tenant; better in PURSER_API_KEY: no process list shows it"
            )
            one.add_argument("--url", help="of the gateway (PURSER_URL; default: this installation's)")

    def handle(self, *, verb: str, **options: Any) -> None:
        client = _client(options)
        run: Callable[..., int] = getattr(self, f"_{verb}")
        try:
            code = run(client, options)
        except openai.APIStatusError as error:
            raise CommandError(error.message) from None
        except openai.APIConnectionError as error:
            raise CommandError(f"The gateway at {client.base_url} does not answer: {error}") from None
        except KeyboardInterrupt:
            if options.get("batch"):
                self._say_how_to_go_on(options["batch"])
            else:
                self.stderr.write("Interrupted before a batch was known.")
            code = INTERRUPTED
        if code:
            raise SystemExit(code)

    def _submit(self, client: openai.OpenAI, options: dict[str, Any]) -> int:
        path: Path = options["file"]
        endpoint = options["endpoint"] or _endpoint_of(path)
        headers = {"x-purser-user": options["user"], "x-purser-feature": options["feature"]}
        with path.open("rb") as file:
            uploaded = client.files.create(file=(path.name, file), purpose="batch")
        batch = client.batches.create(
            input_file_id=uploaded.id,
            endpoint=endpoint,  # type: ignore[arg-type]
            completion_window="24h",
            extra_headers={name: value for name, value in headers.items() if value},
        )
        options["batch"] = batch.id
        self.stdout.write(batch.id)
        self.stdout.flush()
        if not options["wait"]:
            return 0
        return self._follow(client, batch.id, options)

    def _status(self, client: openai.OpenAI, options: dict[str, Any]) -> int:
        batch = client.batches.retrieve(options["batch"])
        if options["wait"] and batch.status not in OVER:
            return self._follow(client, batch.id, options)
        self.stdout.write(json.dumps(batch.model_dump(exclude_none=True), indent=2))
        return code_of(batch) if batch.status in OVER else STILL_RUNNING if options["wait"] else 0

    def _cancel(self, client: openai.OpenAI, options: dict[str, Any]) -> int:
        self.stdout.write(client.batches.cancel(options["batch"]).status)
        return 0

    def _list(self, client: openai.OpenAI, options: dict[str, Any]) -> int:
        for batch in client.batches.list(limit=max(1, min(options["limit"], 100))).data:
            self.stdout.write(_line_of(batch))
        return 0

    def _download(self, client: openai.OpenAI, options: dict[str, Any]) -> int:
        batch = client.batches.retrieve(options["batch"])
        if batch.status not in OVER:
            raise CommandError(f"The batch is {batch.status}: its results are there when it is over.")
        options["output"] = options["output"] or Path(f"{batch.id}.output.jsonl")
        options["errors"] = options["errors"] or Path(f"{batch.id}.errors.jsonl")
        self._save(client, batch, options)
        return 0

    def _follow(self, client: openai.OpenAI, batch_id: str, options: dict[str, Any]) -> int:
        """Wait for the batch with a bar, save what it gave, and say how it went by the exit code."""
        batch = _wait(client, batch_id, seconds=options["timeout"])
        if batch.status not in OVER:
            self._say_how_to_go_on(batch_id)
            return STILL_RUNNING
        self._save(client, batch, options)
        self.stderr.write(_line_of(batch), self.style.NOTICE)
        for error in (batch.errors.data or [])[:10] if batch.errors else []:
            self.stderr.write(f"line {error.line}: {error.message}" if error.line else str(error.message))
        return code_of(batch)

    def _save(self, client: openai.OpenAI, batch: Batch, options: dict[str, Any]) -> None:
        for file_id, path in (
            (batch.output_file_id, options.get("output")),
            (batch.error_file_id, options.get("errors")),
        ):
            if file_id and path:
                _save(client, file_id, path)
                self.stdout.write(str(path))

    def _say_how_to_go_on(self, batch_id: str) -> None:
        self.stderr.write(
            f"The batch {batch_id} goes on without you.\n"
            f"  to wait again:  manage.py batch status {batch_id} --wait\n"
            f"  to cancel it:   manage.py batch cancel {batch_id}"
        )


def code_of(batch: Batch) -> int:
    """The exit code of a batch that is over."""
    if batch.status != "completed":
        return NOT_COMPLETED
    return SOME_FAILED if batch.request_counts and batch.request_counts.failed else 0


def _wait(client: openai.OpenAI, batch_id: str, *, seconds: float | None) -> Batch:
    """The batch when it is over, or the time is up, or the gateway has not answered for a while."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")
    pause, failures = FIRST_PAUSE, 0
    batch = client.batches.retrieve(batch_id)
    with BatchBar() as bar:
        while True:
            bar.show(batch)
            if batch.status in OVER or time.monotonic() >= until or failures >= FAILURES_IN_A_ROW:
                return batch
            time.sleep(max(0.0, min(pause, until - time.monotonic())))
            pause = min(LONGEST_PAUSE, pause * 1.3)
            try:
                batch, failures = client.batches.retrieve(batch_id), 0
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError):
                failures += 1


def _save(client: openai.OpenAI, file_id: str, path: Path) -> None:
    """Stream a file of the gateway to the disk; it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            with client.files.with_streaming_response.content(file_id) as response:
                for chunk in response.iter_bytes(1 << 20):
                    part.write(chunk)
            part.flush()
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise


def _endpoint_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline(LONGEST_FIRST_LINE))
        return str(first["url"])
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(
            f"The first line of {path} is no JSON object with a url; --endpoint names it."
        ) from None


def _line_of(batch: Batch) -> str:
    counts = batch.request_counts
    lines = f"{counts.completed} of {counts.total} answered, {counts.failed} failed" if counts else ""
    purser = (batch.model_extra or {}).get("purser") or {}
    money = f"{purser['cost_usd']} USD, {purser['saved_usd']} saved" if "cost_usd" in purser else ""
    return "  ".join(filter(None, (batch.id, batch.status, lines, money)))


def _client(options: dict[str, Any]) -> openai.OpenAI:
    demo = _demo_facts()
    key = options["key"] or os.environ.get("PURSER_API_KEY") or demo.get("api_key")
    if not key:
        raise CommandError("Whose batch is it? Give a key of the tenant in PURSER_API_KEY, or with --key.")
    url = options["url"] or os.environ.get("PURSER_URL") or demo.get("base_url") or settings.SITE_URL
    return openai.OpenAI(api_key=key, base_url=f"{url.rstrip('/').removesuffix('/v1')}/v1")


def _demo_facts() -> dict[str, str]:
    """While `make run` serves: its address, and the key of its tenant."""
    try:
        return dict(json.loads((settings.PURSER_HOME / "demo.json").read_text()))
    except (OSError, ValueError):
        return {}
