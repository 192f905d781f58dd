"""Finds every regular expression of the product: those that modules and classes hold, and those written where they are used."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import regex

PACKAGES = ("config", "tenants", "billing", "caching", "llm")
# not the product's: programs of their own that serve tests and training
OTHERS = ("llm.sandbox", "caching.learning.training", "config.running.demonstration")
NOT_IMPORTED = (".migrations", "__main__", "config.running.embedded", "config.celery")
CALLS = frozenset({"compile", "search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer"})
DEPTH = 6


def modules() -> list[ModuleType]:
    """Every module of the product."""
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            name = module.name
            if not name.startswith(OTHERS) and not any(part in name for part in NOT_IMPORTED):
                found.append(importlib.import_module(name))
    return found


def all_patterns() -> dict[str, "re.Pattern[Any]"]:
    """Each pattern once, by where it is."""
    found: dict[str, re.Pattern[Any]] = {}
    known: set[tuple[Any, int]] = set()
    for module in modules():
        for where, pattern in (*_held(module), *_written(module)):
            identity = (pattern.pattern, pattern.flags)
            if identity not in known:
                known.add(identity)
                found[where] = pattern
    return found


def _held(module: ModuleType) -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    for name, value in vars(module).items():
        if not isinstance(value, ModuleType) and not name.startswith("__"):
            yield from _inside(value, f"{module.__name__}.{name}", DEPTH, module.__name__)


def _inside(value: Any, where: str, depth: int, owner: str) -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    if isinstance(value, re.Pattern | regex.Pattern):
        yield where, value
    elif not depth:
        return
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _inside(inner, f"{where}[{key!r}]", depth - 1, owner)
    elif isinstance(value, list | tuple | set | frozenset):
        for number, inner in enumerate(value):
            yield from _inside(inner, f"{where}[{number}]", depth - 1, owner)
    elif isinstance(value, FunctionType) or (isinstance(value, type) and value.__module__ == owner):
        for name, inner in vars(value).items() if isinstance(value, type) else ():
            yield from _inside(inner, f"{where}.{name}", depth - 1, owner)
        for number, cell in enumerate(getattr(value, "__closure__", None) or ()):
            yield from _inside(cell.cell_contents, f"{where}<{number}>", depth - 1, owner)
    elif type(value).__module__.startswith(PACKAGES) and hasattr(value, "__dict__"):
        for name, inner in vars(value).items():
            yield from _inside(inner, f"{where}.{name}", depth - 1, owner)


def _written(module: ModuleType) -> Iterator[tuple[str, "re.Pattern[Any]"]]:
    """Patterns that stand as text in a call such as `re.sub("...", ...)`."""
    source = Path(str(module.__file__)).read_text()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if node.func.attr in CALLS and isinstance(owner, ast.Name) and owner.id in ("re", "regex"):
            text = node.args[0] if node.args else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str | bytes):
                yield f"{module.__name__}:{node.lineno}", re.compile(text.value, _flags(node))


def _flags(call: ast.Call) -> int:
    words = {inner.attr for inner in ast.walk(call) if isinstance(inner, ast.Attribute)}
    flags = 0
    for name in ("IGNORECASE", "I", "DOTALL", "S", "MULTILINE", "M"):
        if name in words:
            flags |= int(getattr(re, name))
    return flags
