"""Tables, ratios and charts of outcomes."""

import xml.etree.ElementTree as ElementTree

from benchmarks.load import reports
from benchmarks.load.runs import Outcome
from benchmarks.load.scenarios import Scenario, chat, is_completion

FIGURES = {
    "raw": [{"requests_per_second": 2000.0, "gateway_cpu_ms": 0.5}],
    "everything": [
        {"requests_per_second": rate, "gateway_cpu_ms": cpu, "postgres_cpu_ms": 0.5}
        for rate, cpu in ((400.0, 2.0), (300.0, 3.0))
    ],
}


def test_it_works() -> None:
    assert reports.markdown_table(outcomes()).splitlines() == [
        "|  | requests/s | gateway CPU ms | PostgreSQL CPU ms |",
        "| --- | --- | --- | --- |",
        "| raw & bare | 2,000 (2,000 to 2,000) | 0.50 (0.50 to 0.50) |  |",
        "| everything & bare | 350 (300 to 400) | 2.50 (2.00 to 3.00) | 0.50 |",
    ]


def test_ratios_are_of_pairs_that_were_measured() -> None:
    assert reports.ratios(outcomes(), [("everything", "raw"), ("hit", "raw")]) == {"everything / raw": 5.0}


def test_a_chart_has_a_bar_for_each_part() -> None:
    drawing = ElementTree.fromstring(reports.chart(outcomes(), title="CPU"))
    space = "{http://www.w3.org/2000/svg}"
    bars = [bar for bar in drawing.iter(f"{space}rect") if bar.get("height") == str(reports.BAR)]
    assert len(bars) == 3
    texts = [text.text for text in drawing.iter(f"{space}text")]
    assert {"CPU", "raw & bare", "3.00 ms"} <= set(texts)


def outcomes() -> dict[str, Outcome]:
    found = {}
    for name, runs in FIGURES.items():
        found[name] = Outcome(Scenario(name, f"{name} & bare", chat("http://127.0.0.1:1"), {}, is_completion))
        for figures in runs:
            found[name].add(figures)
    return found
