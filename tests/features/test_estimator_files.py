"""What is saved answers the same when loaded; what is not trusted, or damaged, is never made."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from tenfold.errors import ArtifactError
from tenfold.features import estimator_files
from tenfold.features.estimator_files import load_estimator, save_estimator
from tenfold.features.estimators import Wish, make_estimator

ROWS = np.random.default_rng(0).normal(size=(80, 20)).astype(np.float32)
CLASSES = np.arange(80) % 3

CLASSIFIERS: dict[str, dict[str, Any]] = {
    "LogisticRegression": {},
    "SVC": {},
    "KNeighborsClassifier": {},
    "RandomForestClassifier": {"n_estimators": 3},
    "GradientBoostingClassifier": {"n_estimators": 3},
    "HistGradientBoostingClassifier": {"max_iter": 3},
    "LinearDiscriminantAnalysis": {},
    "MLPClassifier": {"hidden_layer_sizes": [3], "max_iter": 400, "tol": 1.0},
    "GaussianProcessClassifier": {},
    "CalibratedClassifierCV": {},
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_saved_estimator_answers_as_before(name: str, tmp_path: Path) -> None:
    estimator = make_estimator(Wish(name, CLASSIFIERS[name]), "class", standardise=True, seed=0).fit(ROWS, CLASSES)
    save_estimator(estimator, tmp_path / "estimator.skops")
    loaded = load_estimator(tmp_path / "estimator.skops")
    assert np.array_equal(loaded.predict(ROWS), estimator.predict(ROWS))


def test_a_function_of_someone_elses_is_neither_saved_nor_loaded(tmp_path: Path) -> None:
    path = tmp_path / "estimator.skops"
    foreign = FunctionTransformer(json.loads)
    with pytest.raises(ArtifactError, match=r"not trusted: json\.loads"):
        save_estimator(foreign, path)
    assert not path.exists()
    path.write_bytes(skops.io.dumps(foreign))
    with pytest.raises(ArtifactError, match="not trusted"):
        load_estimator(path)


def test_a_compressed_file_is_refused_before_anything_of_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "estimator.skops"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * 2**24)
    with pytest.raises(ArtifactError, match=r"schema\.json is compressed"):
        load_estimator(path)


def test_a_renamed_type_inside_a_sound_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "estimator.skops"
    save_estimator(make_estimator(Wish("SVC"), "class", standardise=False, seed=0).fit(ROWS, CLASSES), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(parts["schema.json"])
    schema["__class__"], schema["__module__"] = "Popen", "subprocess"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {**parts, "schema.json": json.dumps(schema).encode()}.items():
            file.writestr(name, content)
    with pytest.raises(ArtifactError, match=r"subprocess\.Popen"):
        load_estimator(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_damaged_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "estimator.skops"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        load_estimator(path)


def test_what_is_no_estimator_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "estimator.skops"
    path.write_bytes(skops.io.dumps([1, 2]))
    with pytest.raises(ArtifactError, match="holds a list"):
        load_estimator(path)


def test_a_tree_that_leads_out_of_itself_or_in_a_circle_is_found() -> None:
    tree = DecisionTreeClassifier(random_state=0).fit(ROWS, CLASSES).tree_
    assert estimator_files._is_sound(tree)
    for place, value in (("left_child", tree.node_count + 5), ("right_child", 0), ("feature", 99)):
        state = tree.__getstate__()
        state["nodes"] = state["nodes"].copy()
        state["nodes"][place][0] = value
        broken = DecisionTreeClassifier(random_state=0).fit(ROWS, CLASSES).tree_
        broken.__setstate__(state)
        assert not estimator_files._is_sound(broken), place


def array(values: Any, dtype: type) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, dtype))
    return file.getvalue()


@pytest.mark.parametrize(
    ("shape", "content"), [((1,), array([], np.intp)), ((1,), array([9], np.intp)), ((9, 1, 3), b"")]
)
def test_a_tree_whose_parts_do_not_fit_together_is_never_made(
    shape: tuple[int, ...], content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "estimator.skops"
    save_estimator(DecisionTreeClassifier(max_leaf_nodes=5, random_state=0).fit(ROWS, CLASSES), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    (name, *_) = [
        name for name, part in parts.items() if name.endswith(".npy") and np.load(io.BytesIO(part)).shape == shape
    ]
    parts[name] = content or array(np.load(io.BytesIO(parts[name]))[:-1], np.float64)
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    monkeypatch.setattr(skops.io, "loads", lambda *_, **__: pytest.fail("made"))
    with pytest.raises(ArtifactError, match="do not fit together"):
        load_estimator(path)


def test_all_trees_of_a_forest_are_looked_through() -> None:
    forest = RandomForestClassifier(n_estimators=4, random_state=0).fit(ROWS, CLASSES)
    assert len(list(estimator_files._trees([{"deep": (forest,)}]))) == 4
    boosted = HistGradientBoostingClassifier(max_iter=3).fit(ROWS, CLASSES)
    predictors = list(estimator_files._trees(boosted))
    assert len(predictors) == 9 and all(map(estimator_files._is_sound, predictors))
    predictors[0].nodes["left"][0] = 10_000
    assert not estimator_files._is_sound(predictors[0])
