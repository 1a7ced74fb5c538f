"""A disk that fills up, a largest file size, a place that may not be written: told, and gone on from later."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from reliability.crash.outcome import artifact_of, differences, leftovers
from reliability.crash.victim import run_in
from tests.crash.conftest import Begin

FREE = (0, 8, 40, 80, 120)
"""KB that are left when the run begins; it needs more, each time for something later."""


def test_on_a_full_disk_the_place_is_told_and_the_run_goes_on_when_there_is_room(
    small_disk: Path, laid_out: Path
) -> None:
    ballast, places = small_disk / "ballast", set()
    for free in FREE:
        fill(ballast, free)
        ended = run_in(small_disk, said=laid_out / "said.txt")
        told = re.search(r"tenfold: (\S+): no space left on the device\n  do: free some space there", ended.said)
        assert ended.code == 1 and told, (free, ended)
        places.add(Path(told[1]).parent.name)
        ballast.unlink()
    assert len(places) >= 2, "it failed in one place after another"
    ended = run_in(small_disk)
    assert ended.code == 0, ended.said
    assert leftovers(small_disk) == []
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(small_disk / "out")) == []


def fill(ballast: Path, free_kilobytes: int) -> None:
    """Leave so much room on the disk of `ballast`."""
    free = shutil.disk_usage(ballast.parent).free
    ballast.write_bytes(bytes(max(0, free - free_kilobytes * 1024)))


@pytest.mark.parametrize("kilobytes", [1, 4, 40])
def test_where_a_file_would_be_too_large_that_is_told_and_later_it_goes_on(
    kilobytes: int, begin: Begin, laid_out: Path
) -> None:
    folder = begin()
    limit = kilobytes * 1024
    ended = run_in(folder, first=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)))
    assert (ended.code, "a file would be larger than is allowed" in ended.said) == (1, True), ended.said
    assert "bug" not in ended.said
    assert run_in(folder).code == 0
    assert leftovers(folder) == []
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(folder / "out")) == []


@pytest.mark.parametrize("room", ["out", "cache"])
def test_a_place_that_may_only_be_read_is_told(room: str, begin: Begin) -> None:
    folder = begin()
    (folder / room).mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder / room)], check=False).returncode:
        (folder / room).rmdir()
        (folder / room).write_text("in the way")
    try:
        ended = run_in(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder / room)], check=False, stderr=subprocess.DEVNULL)
    assert ended.code == 2, ended.said
    assert f"{room}" in ended.said and "  do: " in ended.said and "bug" not in ended.said
