"""Which base an adapter belongs to, as hashes: loading it on another base is refused, not tried."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tenfold.errors import ArtifactError, ModelError, Problem, shown
from tenfold.files import sha256_file, sha256_text, write_atomic, write_json
from tenfold.models.sources import weight_files
from tenfold.paths import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

FILE = "identity.json"
_UNTELLING = {"transformers_version", "_name_or_path", "_model_name_or_path", "torch_dtype", "dtype"}


@dataclass(frozen=True)
class Identity:
    """The base model's name and what determines its answers; hashes are SHA-256 in hexadecimal."""

    base_name: str
    base_weights_sha256: str
    config_sha256: str
    tokenizer_sha256: str
    template_sha256: str

    @property
    def sha256(self) -> str:
        """One hash for all that determines the base's answers: every part but the name."""
        return sha256_text(self.base_weights_sha256, self.config_sha256, self.tokenizer_sha256, self.template_sha256)


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that tells it from another."""

    chat_template: str | dict[str, str] | None

    @property
    def special_tokens_map(self) -> Mapping[str, object]:
        """The token for each role, such as `eos_token`."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Return the id of every token."""
        ...


def identify(folder: Path, tokenizer: Tokenizer, *, name: str) -> Identity:
    """Return the identity of the base model in `folder` with this tokenizer and the template it carries.

    Raises:
        ModelError: the folder holds no safetensors file, or a damaged configuration.
    """
    # a tokenizer that is not of the `tokenizers` library has no such text; its vocabulary stands for it
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = json.dumps(tokenizer.get_vocab()) if backend is None else backend.to_str()
    template = tokenizer.chat_template
    if template is not None and not isinstance(template, str):
        template = json.dumps(template, sort_keys=True)
    return Identity(
        base_name=name,
        base_weights_sha256=hash_weights(folder),
        config_sha256=hash_config(folder),
        tokenizer_sha256=hash_tokenizer(text, tokenizer.special_tokens_map),
        template_sha256=hash_template(template),
    )


def check_identity(adapter: Identity, base: Identity) -> None:
    """Check that `adapter` was trained on `base`; the name may differ, the hashes may not.

    Raises:
        ArtifactError: weights, configuration, tokenizer or template differ; both names are in the message.
    """
    parts = {
        "base weights": (adapter.base_weights_sha256, base.base_weights_sha256),
        "configuration": (adapter.config_sha256, base.config_sha256),
        "tokenizer": (adapter.tokenizer_sha256, base.tokenizer_sha256),
        "chat template": (adapter.template_sha256, base.template_sha256),
    }
    different = [part for part, (trained_on, given) in parts.items() if trained_on != given]
    if different:
        raise ArtifactError(
            Problem(
                where="adapter",
                found=f"it was trained on {adapter.base_name!r}, and {base.base_name!r} has "
                f"another {' and another '.join(different)}",
                allowed="; ".join(f"{part} {parts[part][0][:12]}…" for part in different),
                remedy=f"load it on {adapter.base_name!r} as it was",
            )
        )


def write_identity(identity: Identity, folder: Path) -> None:
    """Write `identity.json` beside the adapter."""
    write_json(folder / FILE, asdict(identity))


def read_identity(folder: Path) -> Identity:
    """Return what `write_identity` wrote.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return Identity(**{field.name: str(tree[field.name]) for field in fields(Identity)})
    except FileNotFoundError:
        raise ArtifactError(Problem(str(path), "no such file", remedy="load it as a plain PEFT adapter")) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(Problem(str(path), f"damaged: {shown(error)}")) from error


def hash_weights(folder: Path) -> str:
    """Return the hash of a model's weights: the file's own SHA-256, or that of all files' hashes in name order.

    Each file is read once; its hash is kept under its path, size and time of change.

    Raises:
        ModelError: the folder holds no safetensors file, or not all that its index names.
    """
    files = weight_files(folder)
    if not files:
        raise ModelError(Problem(str(folder), "no .safetensors file", remedy="convert the weights to safetensors"))
    hashes = [_hash_once(path) for path in files]
    return hashes[0] if len(hashes) == 1 else sha256_text(*hashes)


def _hash_once(path: Path) -> str:
    path = path.resolve()
    status = path.stat()
    kept = cache_folder("hashes") / sha256_text(str(path), str(status.st_size), str(status.st_mtime_ns))
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    digest = sha256_file(path)
    write_atomic(kept, digest)
    return digest


def hash_config(folder: Path) -> str:
    """Return the hash of what turns weights into answers: configuration, generation defaults and the model's own code.

    Two files that differ only in spelling, or in what loading decides anyway, have one hash.

    Raises:
        ModelError: a file is damaged.
    """
    parts = [_canonical(_settings(folder / name)) for name in ("config.json", "generation_config.json")]
    for name in ("preprocessor_config.json", "processor_config.json"):  # what makes a speech model's input
        if (folder / name).is_file():
            parts += [name, _canonical(_settings(folder / name))]
    for path in sorted(folder.glob("*.py")):
        parts += [path.name, sha256_file(path)]
    return sha256_text(*parts)


def _settings(path: Path) -> object:
    if not path.is_file():
        return None
    try:
        return _telling(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(Problem(str(path), f"damaged: {error}", remedy="get the model again")) from error


def _telling(tree: object) -> object:
    """Return `tree` without the keys that change no answer."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: sorted(map(str, value)) if key == "architectures" and isinstance(value, list) else _telling(value)
        for key, value in tree.items()
        if key not in _UNTELLING
    }


def _canonical(tree: object) -> str:
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_tokenizer(backend: str, special_tokens: Mapping[str, object]) -> str:
    """Return the hash of a tokenizer from its `tokenizer.json` text and the token for each role, such as `eos_token`.

    Keys are sorted, and padding and truncation left out: calling a tokenizer sets those, and no token changes.
    """
    tree = json.loads(backend)
    tree.pop("padding", None)
    tree.pop("truncation", None)
    # tokens may be objects of the library's own, whose text is the token
    return sha256_text(_canonical(tree), json.dumps(dict(special_tokens), sort_keys=True, default=str))


def hash_template(template: str | None) -> str:
    """Return the hash of a chat template's text; a tokenizer without one has the hash of `none`."""
    return hashlib.sha256((template or "none").encode()).hexdigest()


def require_same_tensors(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], folder: Path) -> None:
    """Check that `state`, read from `folder`, has the names and shapes of `expected`.

    Raises:
        ArtifactError: tensors are missing, unknown or of another shape.
    """
    problems = [Problem(str(folder), f"the adapter lacks {name}") for name in expected if name not in state]
    problems += [Problem(str(folder), f"the model has no place for {name}") for name in state if name not in expected]
    problems += [
        Problem(str(folder), f"{name} is {list(tensor.shape)}", allowed=str(list(expected[name].shape)))
        for name, tensor in state.items()
        if name in expected and expected[name].shape != tensor.shape
    ]
    if problems:
        rest = [Problem("", f"and {len(problems) - 5} more")] if len(problems) > 5 else []
        raise ArtifactError(*problems[:5], *rest)
