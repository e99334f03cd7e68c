"""One configuration file as values and as text: an edit is read again, and says what was meant, or is not made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import jsonc, toml, yaml
from .tree import Change, Edit, List, Map, Node, Path, Unknown, changed, edits, plain, spliced

BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Syntax:
    """By the ending of the file."""

    toml: bool = False
    yaml: bool = False

    @classmethod
    def of(cls, name: str) -> "Syntax":
        return cls(toml=name.endswith(".toml"), yaml=name.endswith((".yaml", ".yml")))


@dataclass(frozen=True, slots=True)
class Document:
    """`text` is without its byte order mark."""

    syntax: Syntax
    bom: bool
    text: str
    data: Any  # dicts, lists, strings, and what is neither

    @classmethod
    def from_bytes(cls, data: bytes, syntax: Syntax) -> "Document":
        """Raises `Unknown`."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Unknown("it is not UTF-8") from None
        bom, text = text.startswith(BOM), text.removeprefix(BOM)
        return cls(syntax, bom, text, _data(text, syntax))

    def to_bytes(self) -> bytes:
        return ((BOM if self.bom else "") + self.text).encode()

    def edited(self, entries: Sequence[tuple[Path, Sequence[Change]]]) -> "Document":
        """With these changes of these maps; raises `Unknown` where the text cannot be changed so, and in no other way."""
        wanted, done = self.data, list[Edit]()
        root = None if self.syntax.toml else _tree(self.text, self.syntax)
        for path, changes in entries:
            node = toml.entry(self.text, path) if root is None else _at(root, path)
            done += edits(self.text, node, changes)
            wanted = _replaced(wanted, path, changes)
        text = spliced(self.text, done)
        new = Document(self.syntax, self.bom, text, _data(text, self.syntax))
        if new.data != wanted:
            raise Unknown("it cannot be changed without changing something else")
        return new


def _tree(text: str, syntax: Syntax) -> Map:
    return yaml.tree(text) if syntax.yaml else jsonc.tree(text)


def _data(text: str, syntax: Syntax) -> Any:
    return toml.plain(text) if syntax.toml else plain(_tree(text, syntax))


def _at(root: Map, path: Path) -> Map:
    node: Node = root
    for step in path:
        if isinstance(node, List) and isinstance(step, int):
            node = node.items[step]
        elif isinstance(node, Map):
            (node,) = (member.value for member in node.members if member.key.value == step)
    if not isinstance(node, Map):
        raise Unknown("it is no map")
    return node


def _replaced(value: Any, path: Path, changes: Sequence[Change]) -> Any:
    if not path:
        return changed(value, changes)
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_replaced(item, rest, changes) if index == step else item for index, item in enumerate(value)]
    return {key: _replaced(item, rest, changes) if key == step else item for key, item in value.items()}
