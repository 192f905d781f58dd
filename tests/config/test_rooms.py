"""The packages of the product: small enough to be read at a glance, and each says what it owns."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("billing", "caching", "config", "llm", "tenants")
MOST_MODULES = 20
MOST_LINES = 400
OTHERS = {"migrations", "management", "commands", "catalogue", "en"}  # Django's folders, and folders of data
PACKAGES = sorted(
    path.parent.relative_to(ROOT)
    for app in APPS
    for path in (ROOT / app).rglob("__init__.py")
    if path.parent.name not in OTHERS
)


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_says_what_it_owns_and_what_it_does_not(package: Path) -> None:
    said = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    assert "It owns " in said
    assert "It does not " in said or "Nothing of it " in said


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_a_package_has_few_modules_of_a_bearable_length(package: Path) -> None:
    modules = [path for path in (ROOT / package).glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MOST_MODULES
    assert {path.name for path in modules if len(path.read_text().splitlines()) > MOST_LINES} == set()
