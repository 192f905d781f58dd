"""A YAML file as plain data that remembers on which line each value stands.

Invariant: pure. Whatever is wrong with a file is one ConfigurationError that names the file, the line and
the path. A plain scalar means what it looks like (YAML 1.2): `off` and `yes` are words, 0047 is text, 0.10
is an exact decimal. `${NAME}` is taken from the environment, never parsed again, and has no default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

Path = tuple[str | int, ...]

# `${NAME}` inside {flow: ${NAME}} is not YAML. It goes through the parser as a word between two characters
# of Unicode's private use area.
_VARIABLE = re.compile(r"\$(\$?)\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKED = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")


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
        """The error to raise about what stands at a path."""
        return ConfigurationError(problem, source=self.source, line=self.line_of(path), path=path)


def read_document(text: str, *, source: str, environ: Mapping[str, str]) -> Document:
    """Parse a file's text; raises ConfigurationError."""
    marked = _VARIABLE.sub(lambda found: f"{_OPEN}{found[1]}{found[2]}{_CLOSE}", text)
    try:
        node = yaml.compose(marked, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(f"is not YAML: {error.problem}", source=source, line=line) from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"is not YAML: {error}", source=source, line=1) from None
    reader = _Reader(source=source, environ=environ)
    value = reader.value_of(node, path=()) if node is not None else {}
    return Document(source=source, value=value, lines=reader.lines)


def dotted(path: Path) -> str:
    """A path as people write it: `tenants[0].policy.cache`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}


_DIGITS = list("-+0123456789.")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), _DIGITS)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"),
    _DIGITS,
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:timestamp",
    re.compile(r"^\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?: ?(?:Z|[-+]\d\d:\d\d))?)?$"),
    list("0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


class _Reader:
    """Walks the nodes of one file."""

    def __init__(self, *, source: str, environ: Mapping[str, str]) -> None:
        self.source, self.environ = source, environ
        self.lines: dict[Path, int] = {}
        self._constructor = _Loader("")
        self._open: set[int] = set()

    def value_of(self, node: yaml.Node, *, path: Path) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path=path)
        if id(node) in self._open:
            raise self._error(node, path, "contains itself")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path=path)
            return [self.value_of(item, path=(*path, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, *, path: Path) -> dict[str, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for position, name in enumerate(names):
            if name in names[:position] and name != "<<":
                raise self._error(node.value[position][0], (*path, name), "stands here twice")
        self._constructor.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, path, "a key must be a word")
            name = str(self._substituted(key, path=path))
            self.lines[(*path, name)] = key.start_mark.line + 1
            values[name] = self.value_of(value, path=(*path, name))
        return values

    def _scalar(self, node: yaml.ScalarNode, *, path: Path) -> Any:
        if _OPEN in node.value:
            return self._substituted(node, path=path)
        match node.tag.removeprefix("tag:yaml.org,2002:"):
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
                    return self._constructor.construct_yaml_timestamp(node)
                except ValueError as error:
                    raise self._error(node, path, f"is no date: {error}") from None
            case "str":
                return node.value
            case tag:
                raise self._error(node, path, f"the tag {tag} is not supported")

    def _substituted(self, node: yaml.ScalarNode, *, path: Path) -> str:
        def look_up(found: re.Match[str]) -> str:
            if found[1].startswith("$"):  # $${NAME} stands for itself
                return f"${{{found[1][1:]}}}"
            try:
                return self.environ[found[1]]
            except KeyError:
                raise self._error(node, path, f"the environment variable {found[1]} is not set") from None

        return _MARKED.sub(look_up, node.value)

    def _error(self, node: yaml.Node, path: Path, problem: str) -> ConfigurationError:
        return ConfigurationError(problem, source=self.source, line=node.start_mark.line + 1, path=path)
