"""The page: what stands in it, what is left out, and that nobody's text becomes markup."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.report import write_report
from tenfold.errors import ArtifactError, UserError
from tests.compare.artifacts import accuracy, artifact
from tests.compare.comparisons import HELD, entry, hostile

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of the page: its tags with attributes, and its text by the tag that holds it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def headings(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.tags if tag == "section" and "id" in attributes]


def page(folder: Path, comparison: Comparison) -> Page:
    write_report(comparison, folder / "report.html")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


SECTIONS = "leaderboard cost retention efficiency curves claims tasks classes answers refused terms recipes"


def test_every_section_stands_in_its_order_where_there_is_something_to_show(tmp_path: Path) -> None:
    assert page(tmp_path, hostile(tmp_path)).headings == SECTIONS.split()


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    one = Entry("one", (artifact(tmp_path / "one", facts={"tasks": {"main": {"kind": "generation"}}}, rows=()),))
    assert page(tmp_path, Comparison("one", (one,))).headings == ["leaderboard", "cost", "recipes"]
    assert page(tmp_path, Comparison("none", (Entry("x", failures=("why",)),))).headings == ["leaderboard"]


def test_text_of_rows_names_and_errors_stays_text_in_html_and_in_drawings(tmp_path: Path) -> None:
    found = page(tmp_path, hostile(tmp_path))
    assert {"img", "b"} & {tag for tag, _ in found.tags} == {"b"}, "only our own bold type"
    assert [tag for tag, _ in found.tags].count("script") == 1
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert not [name for _, attributes in found.tags for name in attributes if name in ("href", "src", "style")]
    assert found.text.count("<script>alert(2)</script>") >= 10
    labels = [attributes["aria-label"] for tag, attributes in found.tags if tag == "svg"]
    assert any('"><img src=x onerror' in label for label in labels)
    assert "{{ 7*7 }}" in found.text
    # neither a numbered folder nor the minute at which it was written
    assert "49" not in found.text.replace(str(tmp_path), "").partition("Written by Tenfold")[0]


def test_drawings_are_well_formed_and_say_what_they_show(tmp_path: Path) -> None:
    write_report(hostile(tmp_path), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    drawings = [part.partition("</svg>")[0] for part in html.split("<svg ")[1:]]
    assert len(drawings) > 10
    for drawing in drawings:
        root = ElementTree.fromstring(f"<svg {drawing}</svg>")
        assert root.get("role") == "img"
        assert [child.tag for child in root[:2]] == ["title", "desc"]
        assert all(child.text for child in root[:2])
        assert "nan" not in " ".join(value for child in root.iter() for value in child.attrib.values()).split(" ")


def test_the_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    found = page(tmp_path, hostile(tmp_path))
    assert not {tag for tag, _ in found.tags} & {"link", "iframe", "object", "img"}
    policy = [attributes["content"] for tag, attributes in found.tags if "http-equiv" in attributes]
    script = (Path(__file__).parents[2] / "tenfold" / "compare" / "report" / "sort.js").read_bytes()
    only = b64encode(sha256(script).digest()).decode()
    assert policy == [f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{only}'"]


def test_the_leaderboard_tells_score_tie_and_seeds_and_costs_stand_in_words(tmp_path: Path) -> None:
    good, near, poor = [1.0] * 38 + [0.0] * 2, [0.0] * 3 + [1.0] * 37, [1.0] * 10 + [0.0] * 30
    ways = (entry(tmp_path, "a", poor, seconds=7200), entry(tmp_path, "bb", good), entry(tmp_path, "ccc", near))
    told = page(tmp_path, Comparison("x", ways))
    rows = told.text.partition("Leaderboard")[2].partition("The numbers mark")[0]
    places = [rows.index(part) for part in ("bb 0.95", "leads", "ccc 0.93", "ties", "a 0.25", "clearly worse", "0.700")]
    assert places == sorted(places)
    assert "2 seeds" in rows
    assert all(word in told.text for word in ("2.0 h", "60 s", "2 GB", "5 MB", "1.00%"))


def test_a_score_that_is_not_defined_has_no_place(tmp_path: Path) -> None:
    good, poor = [1.0] * 38 + [0.0] * 2, [1.0] * 10 + [0.0] * 30
    lost = Entry("lost", (artifact(tmp_path / "lost", measure=accuracy([float("nan")] * 40), rows=()),))
    ways = (lost, entry(tmp_path, "a", poor), entry(tmp_path, "bb", good))
    told = page(tmp_path, Comparison("x", ways)).text
    assert "clearly ahead of the other." in told
    assert "The score of lost is not defined on these rows, so it has no place." in told
    assert "not defined on these rows no place 1 seed" in told and "[nan" not in told
    alone = page(tmp_path, Comparison("x", (lost,))).text
    assert "No way has a score, so nothing can be said of which to pick." in alone


def test_claims_that_seeds_disagree_on_say_so(tmp_path: Path) -> None:
    outcomes = ("held", "unclear")
    runs = [artifact(tmp_path / way, seed=n, claims=[HELD | {"outcome": way}]) for n, way in enumerate(outcomes)]
    found = page(tmp_path, Comparison("x", (Entry("e", tuple(runs)),)))
    assert "held with 1 of 2 seeds, unclear with 1 of 2 seeds" in found.text


def test_rows_that_are_answered_differently_come_first(tmp_path: Path) -> None:
    items = [1.0] * 20
    other = [*items[:-1], 0.0]
    found = page(tmp_path, Comparison("x", (entry(tmp_path, "a", items), entry(tmp_path, "bb", other)))).text
    answers = found.partition("Answers side by side")[2]
    assert answers.index("row 19") < answers.index("row 0")
    assert "row 8" not in answers


def test_every_run_can_be_made_again_with_the_command_shown(tmp_path: Path) -> None:
    run = artifact(tmp_path / "a b", seed=3)
    found = page(tmp_path, Comparison("x", (Entry("e", (run,)),))).text
    folder = tmp_path / "a b"
    assert f"tenfold run '{folder}/recipe.yaml' --set 'output={folder}-again'" in found
    assert "technique: kind: instruction" in found


def test_a_damaged_artifact_or_a_place_that_cannot_be_written_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    run = artifact(tmp_path / "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError):
        write_report(Comparison("x", (Entry("e", (run,)),)), tmp_path / "folder")
    (run.folder / "claims.json").write_text("[", encoding="utf-8")
    with pytest.raises(ArtifactError):
        write_report(Comparison("x", (Entry("e", (Artifact.open(run.folder),)),)), tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_reports_of_other_techniques_and_unscored_runs_are_no_trouble(tmp_path: Path) -> None:
    odd = {"x of main, 4 rows a class": {"a": 0.5, "b": ["c"]}, "x of main, 8 rows a class": 3}
    runs = artifact(tmp_path / "a"), artifact(tmp_path / "b", seed=1, facts={"reported": odd})
    (tmp_path / "a" / "scorecard.json").write_text('{"format": 1, "scores": []}', encoding="utf-8")
    found = page(tmp_path, Comparison("x", (Entry("e", (Artifact.open(runs[0].folder), runs[1])),)))
    assert "efficiency" not in found.headings
    assert "1.00" in found.text or "0.75" in found.text


def test_the_folder_of_the_report_ships_its_template_style_and_script() -> None:
    root = Path(__file__).parents[2]
    named = (root / "pyproject.toml").read_text(encoding="utf-8")
    kinds = {path.suffix for path in (root / "tenfold" / "compare" / "report").iterdir() if path.is_file()}
    assert kinds == {".py", ".html", ".css", ".js"}
    assert all(f'"compare/report/*{kind}"' in named for kind in kinds - {".py"})
