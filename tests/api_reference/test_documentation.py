"""What README and docs name exists: files, headings, make targets, commands, variables, keys of the configuration.

Code blocks that call a running product were run by hand; what stands here is what drifts unseen.
"""

import functools
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from django.core.management import get_commands
from pydantic import BaseModel

from llm.configuration import spec
from tenants.policy import Policy

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "demo" / "README.md",
    ROOT / "llm" / "sandbox" / "README.md",
]
PRODUCT = ("config", "tenants", "billing", "caching", "llm")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()
BLOCK = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# of others: these are not read by us, or only stand for "a variable of yours"
FOREIGN = {
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "KEY", "BASE", "FILE", "NAME", "ONCE", "ARGS", "PURSER_KEY"),
    *("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"),
    *("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "BIND"),
}
READ = re.compile(r"(?:text|flag|number|words)\(\s*\"([A-Z0-9_]+)\"|environ(?:\.get\(|\[)\"([A-Z0-9_]+)\"")


def test_it_works() -> None:
    assert len(PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{target} of {page.name}"
        assert not anchor or anchor in _anchors(linked), f"{target} of {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_target_and_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"(?:`|^|&& )make ([a-z-]+)", text, re.M):
        assert target in targets or (target.startswith("bench-") and "bench-%" in targets), target
    for command in re.findall(r"manage\.py ([a-z_]+)", text):
        assert command in get_commands(), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_is_named_is_read(page: Path) -> None:
    known = _variables(*PRODUCT, "tests", "benchmarks") | FOREIGN
    text = page.read_text()
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})(?:=[^`]*)?`", text))
    named |= set(re.findall(r"(?:^|\s)([A-Z][A-Z_]{3,})=", text, re.M))
    sql = {"BEGIN", "COMMIT", "NOTIFY", "LISTEN", "UPDATE", "DELETE", "TRUNCATE", "LOGIN", "NOLOGIN"}
    assert {name.removesuffix("_FILE") for name in named} - known - sql == set()


def test_every_variable_that_is_read_is_documented() -> None:
    read = {name.removesuffix("_FILE") for name in _variables(*PRODUCT)}
    missing = {name for name in read if f"`{name}`" not in CONFIGURATION}
    # made by the supervisor and the demonstration for themselves, or of the system
    assert missing - {"DJANGO_SETTINGS_MODULE", "PURSER_LOGIN", "TIKTOKEN_CACHE_DIR", "NO_PROXY"} == set()


@pytest.mark.parametrize(
    "block",
    [
        spec.ProviderSpec,
        spec.ModelSpec,
        spec.PriceSpec,
        spec.TenantSpec,
        spec.UserSpec,
        spec.KeySpec,
        spec.BudgetSpec,
        spec.ChannelSpec,
        spec.AlertSpec,
        spec.LimitsSpec,
        spec.TimeoutsSpec,
    ],
)
def test_every_key_of_the_file_is_documented(block: type[BaseModel]) -> None:
    assert {name for name in block.model_fields if not re.search(rf"\b{name}\b", CONFIGURATION)} == set()


def test_every_field_of_the_policy_is_documented() -> None:
    section = CONFIGURATION.partition("## The policy")[2]
    assert {name for name in _policy_fields(Policy()) if not re.search(rf"\b{name}\b", section)} == set()


def _policy_fields(value: object) -> set[str]:
    names: set[str] = set()
    for field in fields(value):  # type: ignore[arg-type]
        names.add(field.name)
        inner = getattr(value, field.name)
        for part in inner if isinstance(inner, tuple) else (inner,):
            if is_dataclass(part):
                names |= _policy_fields(part)
    return names


@functools.cache
def _variables(*folders: str) -> frozenset[str]:
    """The environment variables that the code of these folders reads."""
    found = {"SECRET_KEY"}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            found |= {name for pair in READ.findall(file.read_text()) for name in pair if name}
    return frozenset(found)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
