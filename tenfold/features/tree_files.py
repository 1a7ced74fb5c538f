"""Whether the parts of a decision tree in a file fit together, looked at before compiled code of scikit-learn has them.

That code believes what it is told of sizes: with parts that do not fit it reads and frees what is not its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np


def require_fitting_trees(archive: ZipFile) -> None:
    """Check every tree that an archive of skops names.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the parts of one do not fit, or are no parts of a tree.
    """
    for node in _nodes(json.loads(archive.read("schema.json"))):
        if node.get("__loader__") == "TreeNode" and not _fits(node, archive):
            raise ValueError("a tree whose parts do not fit together")


def _nodes(schema: object) -> Iterator[Mapping[str, Any]]:
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _fits(node: Mapping[str, Any], archive: ZipFile) -> bool:
    features, classes, outputs = node["__reduce__"]["args"]["content"]
    state = node["content"]["content"]
    num_classes = _array(classes, archive)
    nodes, values = _array(state["nodes"], archive), _array(state["values"], archive)
    num_nodes, num_outputs = _number(state["node_count"]), _number(outputs)
    return (
        _number(features) >= 1
        and num_outputs >= 1
        and num_nodes >= 1
        and num_classes.dtype == np.intp
        and num_classes.shape == (num_outputs,)
        and bool((num_classes >= 1).all())
        and nodes.shape == (num_nodes,)
        and values.dtype == np.float64
        and values.shape == (num_nodes, num_outputs, num_classes.max())
    )


def _array(node: Mapping[str, Any], archive: ZipFile) -> np.ndarray:
    if node["__loader__"] != "NdArrayNode" or node["type"] != "numpy":
        raise ValueError("a tree whose parts are no arrays")
    return np.asarray(np.load(BytesIO(archive.read(node["file"])), allow_pickle=False))


def _number(node: Mapping[str, Any]) -> int:
    found = json.loads(node["content"])
    if node["__loader__"] != "JsonNode" or type(found) is not int:
        raise ValueError("a tree whose sizes are no numbers")
    return found
