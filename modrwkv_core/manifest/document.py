"""Reading and writing YAML: values that know the line they were written on.

Scalars follow the YAML 1.2 core schema, which is narrower than PyYAML's own rules: ``on``, ``off``, ``yes``, ``no`` and
dates stay text, ``1e-3`` is a number, ``010`` is ten. JSON is read by the same parser.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from modrwkv_core.errors import ManifestError

__all__ = ["KeyPath", "LocatedValue", "dotted", "mark", "parse", "read_document", "write_yaml"]

KeyPath: TypeAlias = tuple[str | int, ...]

_BOOLEAN = re.compile(r"^(?:true|false)$")
_NULL = re.compile(r"^(?:~|null|)$")
_INTEGER = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan)$")
_SIGNS = "-+.0123456789"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to begin an empty table


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOLEAN, list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list(_SIGNS))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list(_SIGNS))

_SCALARS: Final[dict[str, tuple[re.Pattern[str], Callable[[str], Any]]]] = {
    "tag:yaml.org,2002:str": (re.compile(r".*", re.DOTALL), str),
    "tag:yaml.org,2002:bool": (_BOOLEAN, lambda text: text == "true"),
    "tag:yaml.org,2002:null": (_NULL, lambda text: None),
    "tag:yaml.org,2002:int": (_INTEGER, int),
    "tag:yaml.org,2002:float": (_FLOAT, lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan"))),
}
"""By tag: what a scalar must look like, and how it is read."""

MAX_VALUES: Final = 100_000
"""Values that one document may have, each alias counted with all that it stands for."""

# In addition to PyYAML's own rules: text that either reader would take for a number is quoted.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list(_SIGNS))
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list(_SIGNS))


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    # Only this style keeps every line break, of whatever alphabet, on one line.
    breaks = len(f"{text}.".splitlines()) > 1
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if breaks else None)


_Dumper.add_representer(str, _represent_text)


@dataclass(frozen=True, slots=True)
class LocatedValue:
    """A value and where it was written.

    Attributes:
        content: A scalar, a dictionary of marked values or a list of marked values.
        origin: ``file:line``, or the layer it comes from.
    """

    content: Any
    origin: str

    def plain(self) -> Any:
        """Return the value without origins."""
        if isinstance(self.content, dict):
            return {key: value.plain() for key, value in self.content.items()}
        if isinstance(self.content, list):
            return [value.plain() for value in self.content]
        return self.content

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, LocatedValue]]:
        """Yield this value and all values within, each with its path."""
        yield path, self
        if isinstance(self.content, dict):
            for key, value in self.content.items():
                yield from value.walk((*path, key))
        elif isinstance(self.content, list):
            for index, value in enumerate(self.content):
                yield from value.walk((*path, index))


def mark(value: Any, origin: str) -> LocatedValue:
    """Mark plain ``value``, and all within, with one ``origin``."""
    if isinstance(value, Mapping):
        return LocatedValue({str(key): mark(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, list | tuple):
        return LocatedValue([mark(item, origin) for item in value], origin)
    return LocatedValue(value, origin)


def dotted(path: KeyPath) -> str:
    """Write ``path`` as users type it: ``phases.0.lr``."""
    return ".".join(str(key) for key in path)


def read_document(path: Path) -> LocatedValue:
    """Read a YAML or JSON file.

    Raises:
        ManifestError: The file cannot be read or is not valid; the message begins with ``file:line``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not UTF-8 text (byte {error.start})", hint="is this a manifest?") from error
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    # JSON allows tabs between values, YAML does not; within JSON's strings they cannot occur.
    return parse(text.replace("\t", " ") if path.suffix == ".json" else text, str(path))


def parse(text: str, origin: str, *, lines: bool = True) -> LocatedValue:
    """Parse YAML ``text``.

    Args:
        text: The document.
        origin: Where it comes from, for messages.
        lines: Whether values are marked with their line, as ``origin:line``, or with ``origin`` alone.

    Raises:
        ManifestError: ``text`` is not valid YAML, or repeats a key.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return LocatedValue(None, _place(origin, 0, lines))
        return _Converter(origin, lines).convert(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ManifestError(
            f"{_place(origin, mark.line if mark else 0, lines)}: not valid YAML: {error.problem}",
            hint="a value that holds ': ', '#', or begins with one of *&!%@`{}[] needs quotes; tabs cannot indent",
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise ManifestError(f"{_place(origin, line, lines)}: not valid YAML: {error.reason}") from error
    except RecursionError:
        raise ManifestError(f"{_place(origin, 0, lines)}: values are nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def write_yaml(data: Any) -> str:
    """Write plain values as YAML that :func:`parse` reads back equal; one line for each scalar."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"))


def _place(origin: str, line: int, lines: bool) -> str:
    return f"{origin}:{line + 1}" if lines else origin


class _Converter:
    """Turns the nodes of one document into located values.

    Args:
        origin: Where the document comes from.
        lines: Whether values are marked with their line.
    """

    def __init__(self, origin: str, lines: bool) -> None:
        self._origin = origin
        self._lines = lines
        self._values = 0

    def convert(self, node: Node, parents: tuple[Node, ...] = (), line: int | None = None) -> LocatedValue:
        """Convert ``node``, which stands within ``parents``, at its own line or at that of its key."""
        where = _place(self._origin, node.start_mark.line if line is None else line, self._lines)
        if any(node is parent for parent in parents):
            raise ManifestError(
                f"{where}: the value contains itself", hint="an alias (*) names an anchor (&) around it"
            )
        self._values += 1
        if self._values > MAX_VALUES:
            raise ManifestError(
                f"{where}: more than {MAX_VALUES} values",
                hint="aliases (*) within aliases multiply; write the values out, or keep data in a file of its own",
            )
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return LocatedValue([self.convert(item, (*parents, node)) for item in node.value], where)
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return LocatedValue(self._entries(node, (*parents, node)), where)
        if not isinstance(node, ScalarNode) or node.tag not in _SCALARS:
            raise ManifestError(f"{where}: a value with the tag {node.tag} is not allowed", hint="remove the tag")
        pattern, read = _SCALARS[node.tag]
        if not pattern.fullmatch(node.value):
            raise ManifestError(
                f"{where}: {reprlib.repr(node.value)} does not fit its tag {node.tag}", hint="remove the tag"
            )
        try:
            return LocatedValue(read(node.value), where)
        except ValueError as error:
            raise ManifestError(f"{where}: not a number that can be read: {error}") from error

    def _entries(self, node: MappingNode, parents: tuple[Node, ...]) -> dict[str, LocatedValue]:
        entries: dict[str, LocatedValue] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line
            place = _place(self._origin, line, self._lines)
            if not isinstance(key_node, ScalarNode):
                raise ManifestError(f"{place}: a key must be a word")
            key = key_node.value
            if key in entries:
                raise ManifestError(
                    f"{place}: the key '{key}' is given twice (first: {entries[key].origin})", hint="remove one of them"
                )
            entries[key] = self.convert(value_node, parents, line)
        return entries
