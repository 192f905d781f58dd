"""A YAML file as plain data that remembers the line of each value.

Invariant: pure. Any error in a file is one ConfigurationError that names the file, the line and
the path. A plain scalar means what it looks like (YAML 1.2): `off` and `yes` are words, 0047 is text, 0.10
is an exact decimal. `${NAME}` is taken from the environment, never parsed again, and has no default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

Path = tuple[str | int, ...]

# `${NAME}` inside {flow: ${NAME}} is not YAML. It goes through the parser as a word between two characters
# of Unicode's private use area.
_VARIABLE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")

# What a scalar without quotes means, by the whole of its text; everything else is text.
_YAML = "tag:yaml.org,2002:"
_PLAIN = {
    "null": re.compile(r"~|null|"),
    "bool": re.compile(r"true|false"),
    "int": re.compile(r"[-+]?(?:0|[1-9][0-9_]*)"),
    "float": re.compile(r"\A[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"),
    "timestamp": re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:Z|[-+]\d\d:\d\d))?)?"),
}

# More values, or more blocks within each other, than any configuration has; aliases count each time they are used.
MOST_VALUES = 200_000
DEEPEST = 50


class ConfigurationError(ValueError):
    """What is wrong with a configuration file, and where."""

    def __init__(self, problem: str, *, source: str, line: int, path: Path = ()) -> None:
        self.problem, self.source, self.line, self.path = problem, source, line, path
        where = f"{source}:{line}: "
        super().__init__(f"{where}{dotted(path)}: {problem}" if path else f"{where}{problem}")


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: `value` is its data, `lines` the line of each path, counted from 1."""

    source: str
    value: Any
    lines: Mapping[Path, int]

    def line_of(self, path: Path) -> int:
        """The line of a path, or of the nearest block around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path, problem: str) -> ConfigurationError:
        """The error to raise about the value at a path."""
        return ConfigurationError(problem, source=self.source, line=self.line_of(path), path=path)


def read_document(text: str, *, source: str, environ: Mapping[str, str]) -> Document:
    """Parse a file's text; raises ConfigurationError."""
    marked = _VARIABLE.sub(lambda found: f"{_OPEN}{found[1]}{found[2]}{_CLOSE}", text)
    try:
        node = yaml.compose(marked, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(f"is not YAML: {error.problem}", source=source, line=line) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"is not YAML: {error}", source=source, line=1) from None
    except RecursionError:
        raise ConfigurationError("is nested too deep", source=source, line=1) from None
    reader = _Reader(source=source, environ=environ)
    value = reader.value_of(node, path=()) if node is not None else {}
    return Document(source=source, value=value, lines=reader.lines)


def dotted(path: Path) -> str:
    """A path as people write it: `tenants[0].policy.cache`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


class _Reader:
    """Walks the nodes of one file."""

    def __init__(self, *, source: str, environ: Mapping[str, str]) -> None:
        self.source, self.environ = source, environ
        self.lines: dict[Path, int] = {}
        self._open: set[int] = set()
        self._count = 0

    def value_of(self, node: yaml.Node, *, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if self._count > MOST_VALUES:
            raise self._error(node, (), f"has more than {MOST_VALUES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path=path)
        if id(node) in self._open:
            raise self._error(node, path, "contains itself")
        if len(self._open) == DEEPEST:
            raise self._error(node, (), "is nested too deep")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path=path)
            return [self.value_of(item, path=(*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, *, path: Path) -> dict[str, Any]:
        values = self._merged(node, path=path)
        names: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, path, "a key must be a word")
            if _is_merge(key):
                continue
            name = str(self._substituted(key, path=path))
            if name in names:
                raise self._error(key, (*path, name), "is here twice")
            names.add(name)
            self.lines[(*path, name)] = key.start_mark.line + 1
            values[name] = self.value_of(value, path=(*path, name))
        return values

    def _merged(self, node: yaml.MappingNode, *, path: Path) -> dict[str, Any]:
        """What `<<` brings in, of one mapping or a list of them: the first that has a key counts."""
        values: dict[str, Any] = {}
        for key, value in node.value:
            if _is_merge(key):
                for part in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
                    if not isinstance(part, yaml.MappingNode):
                        raise self._error(part, path, "<< takes mappings")
                    values |= self.value_of(part, path=path)
        return values

    def _scalar(self, node: yaml.ScalarNode, *, path: Path) -> Any:
        if _OPEN in node.value:
            return self._substituted(node, path=path)
        kind = node.tag.removeprefix(_YAML)
        if kind == "str" and not node.style:
            kind = next((kind for kind, looks in _PLAIN.items() if looks.fullmatch(node.value)), "str")
        match kind:
            case "null":
                return None
            case "bool":
                return node.value == "true"
            case "int":
                return int(node.value)
            case "float":
                return Decimal(node.value)
            case "timestamp":
                try:
                    return SafeConstructor().construct_yaml_timestamp(node)
                except ValueError as error:
                    raise self._error(node, path, f"is no date: {error}") from None
            case "str":
                return node.value
            case _:
                raise self._error(node, path, f"the tag {kind} is not supported")

    def _substituted(self, node: yaml.ScalarNode, *, path: Path) -> str:
        def look_up(found: re.Match[str]) -> str:
            if found[1].startswith("$"):  # $${NAME} means ${NAME} itself
                return f"${{{found[1][1:]}}}"
            try:
                return self.environ[found[1]]
            except KeyError:
                raise self._error(node, path, f"the environment variable {found[1]} is not set") from None

        return _MARKED.sub(look_up, node.value)

    def _error(self, node: yaml.Node, path: Path, problem: str) -> ConfigurationError:
        return ConfigurationError(problem, source=self.source, line=node.start_mark.line + 1, path=path)


def _is_merge(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and not key.style
