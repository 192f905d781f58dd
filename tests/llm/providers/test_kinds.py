"""Every kind of provider says everything, and no line outside its own module knows its name."""

import ast
import inspect
import typing
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest

from billing.months.exports.focus import publishers
from llm.configuration.spec import ProviderSpec
from llm.models import Provider
from llm.providers.kinds import KINDS, ProviderKind, kind_choices, problem_with_options
from llm.providers.outgoing import headers_for
from llm.providers.passed_on import passed_on_headers
from llm.providers.target import Target
from llm.wire import WIRE_FORMATS, prepare
from llm.wire.translation import TRANSLATIONS

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = ("config", "tenants", "billing", "caching", "llm")
ELSEWHERE = ("llm/providers/kinds/", "llm/sandbox/")  # the kinds themselves, and the servers that they ask
KNOWN = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
SAID = [name for name in vars(ProviderKind) if not name.startswith("_")]


@KNOWN
def test_every_kind_says_everything(kind: ProviderKind) -> None:
    assert {"name", "answers", "url", "batches", "reports"} <= set(SAID)
    assert [name for name in SAID if not hasattr(kind, name)] == []
    assert (kind.name.islower(), bool(kind.label), bool(kind.publisher)) == (True, True, True)
    assert kind.example_url.startswith("https://")

    formats = {wire.api: wire for wire in WIRE_FORMATS.values()}
    assert kind.answers
    for asked, answering in kind.answers.items():
        assert asked == answering or (asked, answering) in TRANSLATIONS
    assert kind.flex <= formats.keys()

    account = SimpleNamespace(
        base_url=kind.example_url, api_key="sk-1", options=dict.fromkeys(kind.options, "2024-10-21")
    )
    for api in kind.answers.values():
        for streamed in (False, True):
            url = kind.url(account, formats[api].path, model="some-model", streamed=streamed)
            assert url.startswith(kind.example_url)
            assert formats[api].path.removeprefix("/v1") in url
    assert "sk-1" in " ".join(kind.auth_headers("sk-1").values())
    assert all(prefix.endswith("-") for prefix in kind.passed_on)
    assert kind.tokenizer("some-model")
    assert kind.models_url(account).startswith(kind.example_url)

    if kind.batches is not None:
        batches = kind.batches(account)
        assert all(
            hasattr(batches, verb) for verb in ("upload", "submit", "find", "look", "results", "cancel")
        )
    if kind.reports is not None:
        assert kind.reports.requests(date(2026, 1, 1), date(2026, 1, 2), {})
        assert kind.reports.format.name
        assert kind.reports.format.columns
    assert {type(getattr(kind, name)) for name in SAID if name.startswith(("keeps", "needs", "counts"))} == {
        bool
    }


def test_a_new_kind_needs_no_migration() -> None:
    for model in (Provider, Provider.history.model):
        assert model._meta.get_field("kind").deconstruct()[3]["choices"] is kind_choices
    assert Provider._meta.get_field("kind").choices == kind_choices()


def test_what_may_be_written_is_what_is_registered() -> None:
    assert typing.get_args(ProviderSpec.model_fields["kind"].annotation) == tuple(KINDS)
    assert publishers == {kind.name: kind.publisher for kind in KINDS.values()}


def test_the_pages_name_every_kind() -> None:
    page = (ROOT / "docs" / "providers.md").read_text()
    for kind in KINDS.values():
        assert _row(kind) in page
    configuration = (ROOT / "docs" / "configuration.md").read_text()
    (row,) = [line for line in configuration.splitlines() if line.startswith("| `kind` | required |")]
    assert all(f"`{name}`" in row for name in KINDS)


def _row(kind: ProviderKind) -> str:
    """A kind's row of the table in docs/providers.md."""

    def how(api: str) -> str:
        answering = kind.answers.get(api)
        return "as it is" if answering == api else "translated" if answering else "refused"

    apis = (
        "openai.chat",
        "openai.responses",
        "anthropic.messages",
        "openai.embeddings",
        "openai.completions",
    )
    has = (kind.batches is not None, kind.reports is not None, kind.keeps_responses)
    cells = [
        f"`{kind.name}`",
        kind.label,
        f"`{kind.example_url}`",
        ", ".join(f"`{name}`" for name in sorted(kind.options)) or "–",
        *map(how, apis),
        *("yes" if one else "no" for one in has),
    ]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize(
    ("kind", "options", "problem"),
    [
        ("openai", {}, ""),
        ("openai", {"api_version": "1"}, "a provider of kind openai has no api_version"),
        ("azure", {}, "a provider of kind azure needs api_version"),
        ("azure", {"api_version": "2024-10-21"}, ""),
        ("azure", {"api_version": "2024-10-21", "region": "eu"}, "a provider of kind azure has no region"),
        ("azure", {"api_version": ""}, "api_version must be a text"),
        ("azure", [], "must be an object"),
    ],
)
def test_options_are_those_of_the_kind(kind: str, options: object, problem: str) -> None:
    assert problem_with_options(kind, options) == problem


def test_a_header_that_a_kind_takes_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """One list: what a kind names is taken at the door and sent to its servers, and to no other kind's."""
    from llm.providers import passed_on
    from llm.providers.kinds import azure

    passed_on.prefixes_of.cache_clear()
    monkeypatch.setattr(azure, "passed_on", ("openai-", "ms-azureml-"))
    given = {"ms-azureml-model-session": "s", "openai-beta": "b", "ms-azureml-api-key": "no", "x-other": "no"}
    try:
        at_the_door = passed_on_headers(given, api="openai.chat")
    finally:
        passed_on.prefixes_of.cache_clear()
    assert at_the_door == {"ms-azureml-model-session": "s", "openai-beta": "b"}
    azure_gets, openai_gets = (
        headers_for(_target(name), at_the_door, streamed=False) for name in ("azure", "openai")
    )
    assert azure_gets["ms-azureml-model-session"] == "s"
    assert "ms-azureml-model-session" not in openai_gets
    assert openai_gets["openai-beta"] == "b"


def _target(kind: str) -> Target:
    return Target(model="m", provider="p", kind=KINDS[kind], base_url="http://x", api_key="k", upstream="m")


def test_what_a_kind_does_not_answer_is_refused_by_its_name() -> None:
    from llm.wire import Untranslatable

    for kind, api in (("azure", "openai_responses"), ("anthropic", "openai_embeddings")):
        with pytest.raises(Untranslatable, match=f"a provider of kind {kind}, which has no /"):
            prepare(
                WIRE_FORMATS[api],
                {"model": "m", "input": "Hi"},
                kind=KINDS[kind],
                upstream_model="m",
                max_output_tokens=None,
            )


def test_no_other_line_compares_the_name_of_a_kind() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for room in PRODUCT
        for path in sorted((ROOT / room).rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(ELSEWHERE)
        for line in _comparisons(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        'if account.kind == "azure": pass',
        'if "openai" != kind: pass',
        'if kind in ("openai", "other"): pass',
        'match kind:\n    case "anthropic": pass',
        'KINDS["azure"]',
        'KINDS.get("azure")',
        'kind.startswith("openai")',
        "if target.kind is KINDS.azure: pass",
        "from llm.providers.kinds import azure",
        "from llm.providers.kinds.openai import url",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert list(_comparisons(line)) == [1 if "match" not in line else 2]


def _comparisons(source: str) -> Iterator[int]:
    """The lines that depend on which kind it is."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                is_one = any(_names_a_kind(inner) for side in sides for inner in (side, *_elements(side)))
            case ast.MatchValue():
                is_one = _names_a_kind(node.value)
            case ast.Subscript(value=ast.Name(id="KINDS")):
                is_one = _names_a_kind(node.slice)
            case ast.Call(func=ast.Attribute(attr="get" | "startswith")):
                is_one = any(map(_names_a_kind, node.args))
            case ast.ImportFrom(module=str(module)):
                at = "llm.providers.kinds"
                is_one = module.startswith(tuple(f"{at}.{name}" for name in KINDS)) or (
                    module == at and any(alias.name in KINDS for alias in node.names)
                )
            case _:
                is_one = False
        if is_one:
            yield node.lineno


def _elements(side: ast.expr) -> list[ast.expr]:
    return side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else []


def _names_a_kind(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in KINDS
    return isinstance(node, ast.Constant) and node.value in KINDS


def test_it_works() -> None:
    assert len(KINDS) >= 3
    assert all(inspect.ismodule(kind) for kind in KINDS.values())
