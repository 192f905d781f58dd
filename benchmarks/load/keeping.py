"""Keeping the outcomes of a run in `benchmarks/results`: JSON for programs, Markdown and a chart for readers.

Invariant: the three say the same, and which machine they came from.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import results_file
from benchmarks.load import generators, reports
from benchmarks.load.runs import Outcome

NOTE = os.environ.get("NOTE", "")  # what a reader should know of the machine at the time


def keep(
    name: str,
    title: str,
    outcomes: Mapping[str, Outcome],
    *,
    pairs: Sequence[tuple[str, str]],
    machine: Mapping[str, Any],
    seconds: float,
    more: Mapping[str, Any] | None = None,
    lines: Sequence[str] = (),
) -> None:
    """Print the table and write all. `more` goes into the JSON, `lines` into the text."""
    compared, table = reports.ratios(outcomes, pairs), reports.markdown_table(outcomes)
    print(f"\n{table}\n{compared}")
    figures = {scenario: outcome.as_json() for scenario, outcome in outcomes.items()}
    run = {"machine": machine, "note": NOTE, "seconds": seconds, "load_generator": generators.name()}
    path = results_file.write(name, {**run, "scenarios": figures, "cpu_ratios": compared, **(more or {})})
    repeats = max(len(runs) for outcome in outcomes.values() for runs in outcome.runs.values())
    text = [
        f"# {title}",
        f"By `make bench-{name}` on {results_file.today()}. {machine['cores']} cores ({machine['cpu']}). {NOTE}".strip(),
        f"{repeats} runs of {seconds:.0f} s each in a random order, load by {generators.name()}. Medians, and the range of "
        "the runs. CPU is per request.",
        table,
        f"The gateway's CPU as a ratio: {', '.join(f'{pair} {ratio}' for pair, ratio in compared.items())}.",
        *lines,
    ]
    path.with_suffix(".md").write_text("\n\n".join(line.rstrip("\n") for line in text) + "\n")
    path.with_suffix(".svg").write_text(
        reports.chart(outcomes, title=f"{title}: CPU per request, milliseconds")
    )
    print(f"written to {path.relative_to(path.parents[2])}, .md and .svg")
