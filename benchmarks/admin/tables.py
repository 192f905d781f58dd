"""The figures of `make bench-admin` as a page of documentation."""

from typing import Any

from benchmarks import results_file


def text(pages: dict[str, Any], switches: dict[str, Any], *, rows: int, machine: dict[str, Any]) -> str:
    """Markdown: a table of the pages, and one of the switches."""
    return "\n".join(
        [
            "# Pages over a great ledger",
            "",
            f"`make bench-admin` on {results_file.today()}: {rows:,} rows in the ledger, {machine['cores']} cores",
            f"({machine['cpu']}),",
            f"a load of {machine['load_before']} before. CPU of the process and of PostgreSQL on one core, the cheaper of two.",
            "",
            "| page | CPU s | of it PostgreSQL | seconds | statements | KiB |",
            "|---|---|---|---|---|---|",
            *(
                f"| {name} | {one['cpu_seconds']:.2f} | {one['postgres_cpu_seconds']:.2f} | {one['seconds']:.2f} |"
                f" {one['queries']} | {one['kib']:,} |"
                for name, one in pages.items()
            ),
            "",
            "Seconds from the press of a switch in the admin until new calls to both web processes obey it, median and most:",
            "",
            "| switched | refused | answered again |",
            "|---|---|---|",
            *(
                f"| {name} | {_span(one, 'refused')} | {_span(one, 'answered')} |"
                for name, one in switches.items()
            ),
            "",
        ]
    )


def _span(figures: dict[str, Any], what: str) -> str:
    return f"{figures[f'{what}_median_seconds']:.2f}, {figures[f'{what}_most_seconds']:.2f}"
