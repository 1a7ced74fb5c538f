"""Who teaches: an artifact of ours, a folder, or any model that a recipe can name, known before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.data.prepare import prepare
from tenfold.engine.runtime import Runtime
from tenfold.errors import ModelError, Problem
from tenfold.files import sha256_file, sha256_text
from tenfold.models.architecture import Family, family_of
from tenfold.models.heads import FILE as HEADS_FILE
from tenfold.models.language_model import LanguageModel
from tenfold.models.load import Tokenizer, load_tokenizer, outline
from tenfold.models.open import open_model
from tenfold.models.processor import Processor
from tenfold.models.sources import ModelFiles, resolve
from tenfold.models.trunk import Trunk
from tenfold.recipe import DataSection, ModelSection, Recipe
from tenfold.tasks.generation import Generation
from tenfold.tasks.task import Task
from tenfold.tuning.identity import hash_weights, identify
from tenfold.tuning.tuner import make_tuner

WHERE = "technique.teacher"


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that decide what can be learned from it."""

    blocks: int
    width: int
    vocabulary: int
    family: Family


@dataclass(frozen=True)
class Teacher:
    """A model to learn from. `files` are its whole model, or the base of the adapter that `artifact` holds."""

    name: str
    files: ModelFiles
    artifact: Artifact | None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The teacher's own tokenizer."""
        return load_tokenizer(self.files.folder)

    @cached_property
    def sha256(self) -> str:
        """One hash for all that determines its answers."""
        own = identify(self.files.folder, self.tokenizer, name=self.name).sha256
        if self.artifact is None:
            return own
        if self.artifact.facts["weights"] == "model":
            heads = self.artifact.weights / HEADS_FILE  # beside the weights, and not among what `identify` hashes
            return sha256_text(own, sha256_file(heads)) if heads.is_file() else own
        return sha256_text(own, hash_weights(self.artifact.weights), self.artifact.recipe.tuner.model_dump_json())

    @property
    def is_adapter(self) -> bool:
        """Whether it is a base model with an adapter on it."""
        return self.artifact is not None and self.artifact.facts["weights"] == "adapter"

    @cached_property
    def shape(self) -> Shape:
        """Its sizes, read from its configuration."""
        return shape_of(self.files)

    @property
    def num_parameters(self) -> int:
        """Parameters of the whole model; an adapter that can be merged adds none."""
        return self.files.num_parameters

    @property
    def num_bytes(self) -> int:
        """What its weights take on disk, an adapter's included."""
        paths = list(self.files.weight_files)
        if self.is_adapter:
            assert self.artifact is not None
            paths += self.artifact.weights.glob("*.safetensors")
        return sum(path.stat().st_size for path in paths)

    def load(self, runtime: Runtime) -> Trunk:
        """Return the teacher, frozen and ready to answer, on the machine as `runtime` has it."""
        if self.artifact is not None:
            model = self.artifact.load(runtime=runtime)
        else:
            model = open_model(self.files.folder, self.tokenizer, dtype=runtime.compute_dtype, device=runtime.device)
        model.network.requires_grad_(False)
        return model

    def load_merged(self, runtime: Runtime) -> Trunk:
        """Return the teacher as a plain model, its adapter summed into the base where that can be done."""
        model = self.load(runtime)
        if self.is_adapter:
            assert self.artifact is not None
            tuner = self.artifact.recipe.tuner
            from tenfold.tuning.merging import can_merge  # brings peft along

            if can_merge(tuner):
                model.rebase(make_tuner(tuner).merge(model.network))
        return model


class OnCall:
    """A teacher that is loaded when it is first asked for, and may be let go."""

    def __init__(self, teacher: Teacher, runtime: Runtime) -> None:
        self.teacher = teacher
        self.runtime = runtime
        self._model: Trunk | None = None

    def model(self) -> Trunk:
        """Return the teacher's model."""
        if self._model is None:
            self._model = self.teacher.load(self.runtime)
        return self._model

    def writer(self) -> LanguageModel:
        """Return the teacher's model, which answers in words."""
        model = self.model()
        assert isinstance(model, LanguageModel), "`require_writer` has refused all others"
        return model

    def release(self) -> None:
        """Let the memory go; when asked again it is loaded again."""
        self._model = None


def shape_of(files: ModelFiles) -> Shape:
    """Return the sizes of the model in `files`.

    Raises:
        ModelError: its configuration is damaged, or neither a decoder's nor an encoder's.
    """
    config = outline(files.folder).config
    family = family_of(config)
    if family not in ("decoder", "encoder"):
        found = f"a {config.model_type}, which can neither teach nor learn by distillation"
        raise ModelError(Problem(files.name, found, "a decoder, or of rows with labels an encoder"))
    config = config.get_text_config()
    return Shape(config.num_hidden_layers, config.hidden_size, config.vocab_size, family)


def require_writer(files: ModelFiles) -> None:
    """Check that the model in `files` answers in words.

    Raises:
        ModelError: it is no decoder.
    """
    config = outline(files.folder).config
    if family_of(config) != "decoder":
        raise ModelError(Problem(files.name, f"a {config.model_type}, which writes no text", "a decoder"))


def find_teacher(name: str) -> Teacher:
    """Return the teacher of that name: the folder of a run of ours, or what `model.name` of a recipe may say.

    Raises:
        ArtifactError: the folder is that of an unfinished run, or damaged.
        ModelError: there is no such model.
    """
    folder = Path(name).expanduser()
    if (folder / "artifact.json").is_file() or (folder / "run.json").is_file():
        artifact = Artifact.open(folder)
        if artifact.facts["weights"] == "model":
            return Teacher(name, ModelFiles(name, artifact.weights.resolve(), f"run {folder.resolve()}"), artifact)
        return Teacher(name, _resolved(artifact.recipe.model), artifact)
    return Teacher(name, _resolved(ModelSection(name=name)), None)


def _resolved(section: ModelSection) -> ModelFiles:
    try:
        return resolve(section)
    except ModelError as error:
        problems = (Problem(WHERE, each.found, each.allowed, each.remedy) for each in error.problems)
        raise ModelError(*problems) from None


def seen_by(teacher: Teacher, task: Task, recipe: Recipe) -> Task:
    """Return `task` as the teacher reads it: the same rows in the tokens and the chat template of its own tokenizer.

    A teacher with the student's tokenizer reads the student's very tokens.
    """
    assert isinstance(task.kind, Generation), "what is distilled is answered in words"
    if task.test is None or same_tokens(teacher.tokenizer, task.kind.renderer.tokenizer):
        return task
    kind = Generation(
        Processor(teacher.tokenizer, "decoder"), own_words(recipe.tasks[task.name]), format=task.test.rows.format
    )
    test = prepare(task.test.rows, kind.renderer, task=task.name)
    items = kind.items(test, max_rows=recipe.evaluation.max_rows, seed=recipe.runtime.seed)
    return replace(task, kind=kind, test=test, items=items, data=kind.settled(items, kind.data))


def own_words(data: DataSection) -> DataSection:
    """Return `data` for a model with another tokenizer: a template of the recipe's is the student's, not its."""
    return data.model_copy(update={"chat_template": None, "template": "auto"})


def same_tokens(first: Tokenizer, second: Tokenizer) -> bool:
    """Return whether both tokenizers give every token the same number."""
    return bool(first.get_vocab() == second.get_vocab())
