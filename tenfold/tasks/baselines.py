"""What a task's rows give without training the model: asked as it is, shown examples, or read by their words alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED, pack
from tenfold.data.identity import hash_of
from tenfold.data.labelled import Labelled
from tenfold.data.prepare import Prepared
from tenfold.data.windows import pack_bins
from tenfold.evaluation import bag_of_words
from tenfold.evaluation.label_metrics import class_measures, label_measures, number_measures
from tenfold.evaluation.likelihood import Choice, choose_options
from tenfold.evaluation.scorecard import Measure, Score
from tenfold.evaluation.span_metrics import tag_measures
from tenfold.models.heads import pool
from tenfold.models.language_model import LanguageModel
from tenfold.models.trunk import Trunk
from tenfold.tasks.classification import Classification
from tenfold.tasks.labels import BATCH_TOKENS, LabelKind, LabelledItem
from tenfold.tasks.multi_label import MultiLabel
from tenfold.tasks.regression import Regression
from tenfold.tasks.tagging import Tagging
from tenfold.tasks.task import Task

PROMPT_TOKENS = 1024
"""The longest prompt of examples; what does not fit is left out, the last class first."""


def asked_as_it_is(model: Trunk, task: Task, *, stage: str) -> Score:
    """Return what the untrained model tells of classes by their names alone.

    A decoder takes the class whose name is most likely after the text (Brown et al. 2020, arXiv 2005.14165, section
    2.4); an encoder the class whose name's mean state lies nearest to the text's (a baseline
    of Yin et al. 2019, arXiv 1909.00161).
    """
    kind, items = _classes(task)
    if isinstance(model, LanguageModel):
        prompts = [_prompt(kind, item.example.text, ()) for item in items]
        return _told(task, _likeliest(model, kind, prompts), stage)
    names = _embedded(model, kind, [name.replace("_", " ") for name in kind.space.names])
    return _told(
        task, (_embedded(model, kind, [item.example.text for item in items]) @ names.T).argmax(dim=1).tolist(), stage
    )


def shown_examples(model: Trunk, task: Task, *, shots: int, seed: int, stage: str) -> Score:
    """Return what the untrained model tells of classes from `shots` training rows of each class.

    A decoder is shown them before the text (Brown et al. 2020, section 2.4), as many as fit; of an encoder's states the
    nearest example's class is taken (Cover & Hart 1967).
    """
    kind, items = _classes(task)
    examples = chosen_shots(task.train, kind, shots=shots, seed=seed)
    if isinstance(model, LanguageModel):
        shown = _fitting(model, kind, examples)
        return _told(task, _likeliest(model, kind, [_prompt(kind, item.example.text, shown) for item in items]), stage)
    known = _embedded(model, kind, [example.text for example in examples])
    nearest = (_embedded(model, kind, [item.example.text for item in items]) @ known.T).argmax(dim=1).tolist()
    places = [kind.space.place(str(examples[place].label)) for place in nearest]
    return _told(task, places, stage)


def words_alone(task: Task, *, stage: str) -> Score:
    """Return what linear models over words, or each word's usual tag, tell of the task's rows."""
    kind = task.kind
    assert isinstance(kind, LabelKind)
    items = [item for item in task.items if isinstance(item, LabelledItem)]
    known, texts = _examples(task.train), [item.example.text for item in items]
    train = [example.text for example in known]
    wanted = [kind.space.encoded(example.label) for example in known] if not isinstance(kind, Tagging) else []
    measures: list[Measure]
    if isinstance(kind, Classification):
        classes, num_classes = [int(row[0]) for row in wanted], len(kind.space.names)
        chances = bag_of_words.class_chances(train, classes, texts, num_classes=num_classes)
        measures = class_measures(chances, [int(item.labels[0]) for item in items])
    elif isinstance(kind, MultiLabel):
        chances = bag_of_words.label_chances(train, wanted, texts)
        thresholds = [0.5] * len(kind.space.names)
        measures = label_measures(chances, [item.labels for item in items], thresholds=thresholds)
    elif isinstance(kind, Regression):
        targets = [float(example.label) for example in known if isinstance(example.label, float)]
        right = [float(item.example.label) for item in items if isinstance(item.example.label, float)]
        measures = number_measures(bag_of_words.numbers(train, targets, texts), right)
    else:
        assert isinstance(kind, Tagging)
        measures = _usual_tags(known, items)
    return _ordered(task, measures, stage)


def has_words_baseline(task: Task) -> bool:
    """Return whether `words_alone` knows the task's kind."""
    return isinstance(task.kind, Classification | MultiLabel | Regression | Tagging)


def chosen_shots(train: Prepared, kind: LabelKind, *, shots: int, seed: int) -> list[Labelled]:
    """Return `shots` training rows of each class, classes in turn, chosen by content and seed."""
    by_class: dict[str, list[Labelled]] = {name: [] for name in kind.space.names}
    for example in sorted(_examples(train), key=lambda each: hash_of(f"shots {seed} {each.text} {each.label}")):
        if len(by_class[str(example.label)]) < shots:
            by_class[str(example.label)].append(example)
    return [rows[turn] for turn in range(shots) for rows in by_class.values() if turn < len(rows)]


def _usual_tags(known: Sequence[Labelled], items: Sequence[LabelledItem]) -> list[Measure]:
    pairs = [(example.words, _tags(example)) for example in known]
    answered = bag_of_words.usual_tags(pairs, [item.example.words for item in items])
    # words that were cut off are judged in no row
    seen = [sum(label != IGNORED for label in item.labels) for item in items]
    wanted = [_tags(item.example)[:count] for item, count in zip(items, seen, strict=True)]
    return tag_measures([tags[:count] for tags, count in zip(answered, seen, strict=True)], wanted)


def _tags(example: Labelled) -> list[str]:
    assert isinstance(example.label, tuple)
    return [str(tag) for tag in example.label]


def _examples(prepared: Prepared) -> list[Labelled]:
    rows = [prepared.rows.example(index) for index in range(len(prepared.rows))]
    return [row for row in rows if isinstance(row, Labelled)]


def _classes(task: Task) -> tuple[Classification, list[LabelledItem]]:
    assert isinstance(task.kind, Classification), "only classes have names to choose among"
    return task.kind, [item for item in task.items if isinstance(item, LabelledItem)]


def _prompt(kind: Classification, text: str, shown: Sequence[Labelled]) -> str:
    opening = f"Labels: {', '.join(kind.space.names)}\n\n"
    examples = "".join(f"Text: {example.text}\nLabel: {example.label}\n\n" for example in shown)
    return f"{opening}{examples}Text: {text}\nLabel:"


def _fitting(model: LanguageModel, kind: Classification, examples: Sequence[Labelled]) -> list[Labelled]:
    """Return the first examples that fit into `PROMPT_TOKENS` with half of it left for the text."""
    shown: list[Labelled] = []
    for example in examples:
        prompt = _prompt(kind, "", [*shown, example])
        if len(model.tokenizer.encode(prompt, add_special_tokens=False)) > PROMPT_TOKENS // 2:
            break
        shown.append(example)
    return shown


def _likeliest(model: LanguageModel, kind: Classification, prompts: Sequence[str]) -> list[int]:
    options = tuple(f" {name}" for name in kind.space.names)
    return choose_options(model, [Choice(prompt, options) for prompt in prompts])


@torch.no_grad()
def _embedded(model: Trunk, kind: LabelKind, texts: Sequence[str]) -> Tensor:
    """Return each text's mean state, of length one, [N, H]; framed and cut as the task's rows are."""
    rows = [laid.ids for laid in kind.renderer.lay([Labelled((text,)) for text in texts])]
    states: list[Tensor] = [torch.empty(0)] * len(rows)
    model.eval()
    for places in pack_bins([len(row) for row in rows], BATCH_TOKENS, is_padded=not model.route.packs):
        batch = pack([(place, rows[place], [False] * len(rows[place])) for place in places])
        for place, state in zip(places, pool(model.hidden(batch), batch, "mean").float().cpu(), strict=True):
            states[place] = state
    return torch.nn.functional.normalize(torch.stack(states), dim=-1)


def _told(task: Task, places: Sequence[int], stage: str) -> Score:
    """Return accuracy and macro F1 of answered classes; there are no probabilities to judge."""
    kind, items = _classes(task)
    certain = [[float(place == number) for number in range(len(kind.space.names))] for place in places]
    measures = class_measures(certain, [int(item.labels[0]) for item in items])
    return _ordered(task, [measure for measure in measures if measure.name in kind.metrics], stage)


def _ordered(task: Task, measures: Sequence[Measure], stage: str) -> Score:
    found = {measure.name: measure for measure in measures}
    names = dict.fromkeys([name for name in task.data.metrics if name in found] + list(found))
    return Score(stage, task.name, {name: found[name] for name in names})
