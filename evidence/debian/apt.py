"""A private apt directory: the indexes of four Debian releases, fetched without touching the machine's own apt.

`Packages` files tell names, sections and tags; `Translation-xx` files tell the descriptions in each language. It
needs apt (so Debian or a system like it) and no root.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import DataError, Problem

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = {
    "bullseye": ("en",),
    "bookworm": ("en", "da", "de", "es", "fr", "it", "ja", "ko", "pl", "pt_BR", "ru", "sk", "uk"),
    "trixie": ("en",),
    "sid": ("en",),
}
"""The releases that are read, oldest first, and in which languages."""

SETTINGS = """\
Dir::Etc "{root}/etc";
Dir::State "{root}/state";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Acquire::Check-Valid-Until "false";
Acquire::GzipIndexes "false";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "";
"""
"""Of an own `Dir::Etc` no apt.conf.d is read: container images switch languages off and keep lists packed there.
A frozen mirror's sid is past its date of validity."""


@dataclass(frozen=True)
class Apt:
    """A private apt directory under `root`."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to use this directory and no other."""
        return {**os.environ, "APT_CONFIG": str(self.root / "apt.conf")}

    @property
    def lists(self) -> Path:
        """The folder of the fetched indexes."""
        return self.root / "state" / "lists"

    def index(self, suite: str, kind: str) -> Path:
        """Return the file of the suite's `Packages`, or of its `Translation-xx`.

        Raises:
            DataError: apt did not bring it.
        """
        name = {"Packages": "binary-amd64_Packages"}.get(kind, f"i18n_{kind.replace('_', '%5f')}")
        found = sorted(self.lists.glob(f"*_dists_{suite}_main_{name}"))
        if not found:
            raise DataError(Problem(str(self.lists), f"no {kind} of {suite}", remedy="remove the folder and run again"))
        return found[0]

    def date(self, suite: str) -> str:
        """Return the date that the archive put on the suite's index, as its InRelease says it."""
        (path,) = self.lists.glob(f"*_dists_{suite}_InRelease")
        found = re.search(r"^Date: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found, path
        return found[1]


def open_apt(cache: Path) -> Apt:
    """Return the private apt directory under `cache`, with its indexes fetched unless they are there.

    Raises:
        DataError: there is no apt here, or it cannot fetch.
    """
    apt = Apt((cache / "apt").resolve())
    done = apt.root / "updated"
    if not done.is_file():
        _lay_out(apt, _mirror())
        _update(apt)
        done.touch()
    return apt


def archive_of(addresses: str) -> str:
    """Return the first of the addresses, one a line, that is of a Debian archive (not of updates or other packages).

    Raises:
        DataError: none is.
    """
    found = [line.strip() for line in addresses.splitlines() if line.strip().rstrip("/").endswith("/debian")]
    if not found:
        raise DataError(
            Problem(
                "apt's sources", "name no Debian archive", remedy="add one to /etc/apt/sources.list.d and run again"
            )
        )
    return found[0]


def _mirror() -> str:
    """Return the archive that the machine's own apt is set to."""
    return archive_of(_apt_get("indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", environment=None))


def _lay_out(apt: Apt, mirror: str) -> None:
    for folder in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (apt.root / folder).mkdir(parents=True, exist_ok=True)
    (apt.root / "state" / "status").touch()
    (apt.root / "apt.conf").write_text(SETTINGS.format(root=apt.root), encoding="utf-8")
    lines = [
        f"deb [signed-by={KEYRING} lang={','.join(languages)}] {mirror} {suite} main\n"
        for suite, languages in SUITES.items()
    ]
    (apt.root / "etc" / "sources.list").write_text("".join(lines), encoding="utf-8")


def _update(apt: Apt) -> None:
    # Any failure is an error: apt would else go on with the lists that it got.
    _apt_get("update", "--quiet=2", "--error-on=any", environment=apt.environment)


def _apt_get(*arguments: str, environment: dict[str, str] | None) -> str:
    remedy = "run on Debian (or a system with apt and debian-archive-keyring) with a network"
    try:
        done = subprocess.run(["apt-get", *arguments], env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DataError(Problem("apt-get", "is not installed", remedy=remedy)) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError(Problem(f"apt-get {arguments[0]}", reason, remedy=remedy))
    return done.stdout
