"""YAML into nodes with their spans: `ruamel.yaml` says where they are, and the text stays the person's.

A node that has an anchor, or is an alias, counts in two places: it is never understood, and so never changed.
"""

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as Composed

from .tree import List, Map, Member, Node, Other, Scalar, Unknown

_STRING = "tag:yaml.org,2002:str"
DEPTH_MAX = 100


def tree(text: str) -> Map:
    """The one map of the text; raises `Unknown`."""
    try:
        node = YAML(typ="rt", pure=True).compose(text)
    except (YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise Unknown(f"{where}{getattr(error, 'problem', None) or 'it is no YAML'}") from None
    if node is None:
        return Map(0, 0, (), flow=False)
    if not isinstance(node, MappingNode):
        raise Unknown("it is no map")
    made = _node(text, node, 0)
    if not isinstance(made, Map):
        raise Unknown("it has an anchor")
    return made


def _node(text: str, node: Composed, depth: int) -> Node:
    start, end = node.start_mark.index, node.end_mark.index
    if node.anchor is not None:
        return Scalar(start, end, Other(f"&{node.anchor}"))
    if depth > DEPTH_MAX:
        raise Unknown(f"more than {DEPTH_MAX} levels")
    if isinstance(node, SequenceNode):
        return List(start, end, tuple(_node(text, item, depth + 1) for item in node.value), bool(node.flow_style))
    if isinstance(node, MappingNode):
        members = (Member(_key(text, key), _node(text, value, depth + 1)) for key, value in node.value)
        return Map(start, end, tuple(members), bool(node.flow_style))
    tag = str(node.tag)
    return Scalar(start, end, str(node.value) if tag == _STRING else Other(f"{tag} {node.value}"))


def _key(text: str, node: Composed) -> Scalar:
    if not isinstance(node, ScalarNode) or node.anchor is not None:
        raise Unknown(f"line {node.start_mark.line + 1}: a key that is no plain word")
    return Scalar(node.start_mark.index, node.end_mark.index, str(node.value))
