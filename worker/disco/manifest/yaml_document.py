"""Reads one YAML document and remembers on which line everything stands."""

import math
import re
from pathlib import Path
from typing import Any

import yaml

_MOST_VALUES = 1_000_000
"""In one document, with everything that an alias stands for counted where it stands."""

Position = tuple[str | int, ...]
"""Keys and list indexes from the top of the document to a value."""


class YamlError(Exception):
    """A file is not one YAML document; the message opens with the file and the line."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads scalars as Kubernetes does: no dates, no base 60; 1e6 is a number."""


_REPLACED = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class YamlDocument:
    """One parsed document.

    Attributes:
        path: The file it came from.
        value: Dictionaries, lists, strings, numbers, booleans, None.
        duplicates: Keys that a mapping has twice (YAML silently takes the last).
    """

    def __init__(self, path: Path, value: Any, root: yaml.Node) -> None:
        self.path = path
        self.value = value
        self._root = root
        self.duplicates = tuple(_duplicates(root))

    def line(self, position: Position) -> int:
        """Return the line, from 1, of what stands at *position*, or of the nearest thing above."""
        node, line = self._root, self._root.start_mark.line
        for step in position:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return int(line) + 1


def read_yaml(path: Path) -> YamlDocument:
    """Return the only document of the file at *path*.

    Raises:
        YamlError: The file cannot be read, is not YAML, or has no or several documents.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise YamlError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise YamlError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if not _is_empty(node)]
        if len(nodes) != 1:
            raise YamlError(_wrong_number(path, nodes))
        if _count(nodes[0]) > _MOST_VALUES:
            raise YamlError(
                f"{path}: its aliases (*name) stand for more than {_MOST_VALUES:,} values, or for"
                " themselves; write out what is meant, or use fewer"
            )
        loader = _Loader("")
        try:
            value = loader.construct_document(nodes[0])
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        context = f" ({error.context})" if error.context else ""
        raise YamlError(f"{path}{where}: not valid YAML: {error.problem}{context}") from error
    except yaml.YAMLError as error:
        raise YamlError(f"{path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise YamlError(f"{path}: lists and mappings are nested too deeply") from error
    return YamlDocument(path, value, nodes[0])


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or node.tag == "tag:yaml.org,2002:null"


def _wrong_number(path: Path, nodes: list[yaml.Node]) -> str:
    if not nodes:
        return f"{path}: expected a DiscoJob, found an empty file"
    starts = ", ".join(str(node.start_mark.line + 1) for node in nodes)
    return (
        f"{path}: expected one YAML document, found {len(nodes)} (on lines {starts});"
        " put each into a file of its own"
    )


def _count(root: yaml.Node) -> float:
    """Return how many values a document has; infinity if one contains itself."""
    counted: dict[int, float] = {}

    def count(node: yaml.Node) -> float:
        known = counted.get(id(node))
        if known is None:
            counted[id(node)] = math.inf  # until all that is in it is known
            if isinstance(node, yaml.MappingNode):
                known = 1 + sum(count(key) + count(value) for key, value in node.value)
            elif isinstance(node, yaml.SequenceNode):
                known = 1 + sum(map(count, node.value))
            else:
                known = 1
            counted[id(node)] = known
        return known

    return count(root)


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(step):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    return None


def _duplicates(root: yaml.Node) -> list[tuple[Position, int]]:
    """Return position and line of every key that its mapping has had before."""
    found: list[tuple[Position, int]] = []
    visited: set[int] = set()  # an alias makes one node appear in many places, even in itself

    def visit(node: yaml.Node, above: Position) -> None:
        if id(node) in visited:
            return
        visited.add(id(node))
        if isinstance(node, yaml.MappingNode):
            names: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in names:
                    found.append(((*above, name), key.start_mark.line + 1))
                names.add(name)
                visit(value, (*above, name))
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                visit(item, (*above, index))

    visit(root, ())
    return found
