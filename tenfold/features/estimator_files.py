"""How a fitted estimator is written and read without pickle: by skops, and only types that are on a list.

skops writes a zip of JSON and arrays that names the type of each object; nothing is made of a file before all its
types are known to be trusted. Trees are followed by compiled code that checks no index, so they are looked through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from tenfold.errors import ArtifactError, Problem
from tenfold.features.tree_files import require_fitting_trees
from tenfold.files import write_atomic

TRUSTED = frozenset(
    {
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
    }
)
"""Types beyond those that skops itself trusts: made of numbers and of one another, they run nothing when made."""


def to_bytes(estimator: BaseEstimator) -> bytes:
    """Return the fitted estimator as the content of a file."""
    content: bytes = skops.io.dumps(estimator)
    return content


def untrusted_types(content: bytes) -> set[str]:
    """Return the types in a file's content that are not trusted."""
    return set(skops.io.get_untrusted_types(data=content)) - TRUSTED


def save_estimator(estimator: BaseEstimator, path: Path) -> None:
    """Write the fitted estimator, which `load_estimator` will read.

    Raises:
        ArtifactError: it holds a type that is not trusted, and so could not be read again.
    """
    content = to_bytes(estimator)
    _require_trusted(path, content)
    write_atomic(path, content)


def load_estimator(path: Path) -> BaseEstimator:
    """Return the estimator that `save_estimator` wrote.

    Raises:
        ArtifactError: the file is missing or damaged, or holds anything that is not trusted.
    """
    remedy = "run the recipe again"
    try:
        content = path.read_bytes()
        _require_unpacked(content)
        _require_trusted(path, content)
        with ZipFile(BytesIO(content)) as archive:
            require_fitting_trees(archive)
        estimator = skops.io.loads(content, trusted=sorted(TRUSTED))
    except ArtifactError:
        raise
    except Exception as error:  # a damaged file ends in errors of many unrelated types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ArtifactError(Problem(str(path), f"damaged: {reason}", remedy=remedy)) from error
    if not isinstance(estimator, BaseEstimator):
        raise ArtifactError(Problem(str(path), f"holds a {type(estimator).__name__}, not an estimator", remedy=remedy))
    if not all(_is_sound(tree) for tree in _trees(estimator)):
        raise ArtifactError(Problem(str(path), "damaged: a tree with places that it does not have", remedy=remedy))
    return estimator


def _require_unpacked(content: bytes) -> None:
    """Check that no member takes more memory than it has bytes in the file; `to_bytes` packs none."""
    with ZipFile(BytesIO(content)) as archive:
        packed = [member.filename for member in archive.infolist() if member.compress_type != ZIP_STORED]
    if packed:
        raise ValueError(f"{packed[0]} is compressed, which no estimator that was saved here is")


def _require_trusted(path: Path, content: bytes) -> None:
    unsafe = untrusted_types(content)
    if unsafe:
        found = f"holds types that are not trusted: {', '.join(sorted(unsafe))}"
        raise ArtifactError(Problem(str(path), found, remedy="nothing of it was loaded; run the recipe again"))


def _trees(holder: object) -> Iterator[Tree | TreePredictor]:
    """Yield all trees in an estimator, however deep."""
    waiting, seen = [holder], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Tree | TreePredictor):
            yield each
        elif isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple | set) or (isinstance(each, np.ndarray) and each.dtype == object):
            waiting += list(np.ravel(each)) if isinstance(each, np.ndarray) else list(each)
        elif hasattr(each, "__dict__"):
            waiting += vars(each).values()


def _is_sound(tree: Tree | TreePredictor) -> bool:
    """Return whether every inner node leads to later nodes of the same tree: no walk leaves it or goes in a circle."""
    if isinstance(tree, TreePredictor):
        nodes = tree.nodes
        inner = nodes["is_leaf"] == 0
        sides = [nodes[side][inner].astype(np.int64) for side in ("left", "right")]
        return _lead_on(sides, np.flatnonzero(inner), len(nodes))
    inner = tree.children_left != -1
    features = tree.feature[inner]
    sides = [tree.children_left[inner], tree.children_right[inner]]
    in_range = bool(((features >= 0) & (features < tree.n_features)).all())
    return in_range and _lead_on(sides, np.flatnonzero(inner), tree.node_count)


def _lead_on(sides: list[np.ndarray], places: np.ndarray, count: int) -> bool:
    return all(bool(((side > places) & (side < count)).all()) for side in sides)
