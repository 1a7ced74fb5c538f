"""The tables that are cut from the indexes of the Debian archive, with what a reader has to know about each."""

from __future__ import annotations

from evidence.debian import labels, paragraphs, preferences, questions, summaries, translations
from evidence.piece import Piece, TableMaker

SOURCE = "index of the Debian archive (main, amd64), bookworm, one package a source, lists and code left out"
LICENCE = "each description under its package's free licence, so none is committed here"
GROUP = "source package; every Debian table puts a source on the same side"

DEBIAN = (
    Piece(
        name="debian_synopsis",
        kind="tables",
        make=TableMaker("debian_synopsis", summaries.rows),
        about="English descriptions of software packages and their one-line synopsis (`prompt`, `completion`). The test"
        " rows are a split by time: sources that are in sid and in none of bullseye, bookworm and trixie.",
        source="indexes of the Debian archive (main, amd64); training from bookworm, test from sid",
        licence=LICENCE,
        group=GROUP,
        pitfalls="upstream's own README may have been seen in pre-training even where Debian's text was not; families"
        " of packages named after one scheme are near copies, so at most 100 of each are tested and 5 of toolchains;"
        " the package's name is not in the prompt unless the description says it",
    ),
    Piece(
        name="debian_synopsis_fr",
        kind="tables",
        make=TableMaker("debian_synopsis_fr", summaries.french_rows),
        about="English descriptions and the synopsis in French, as Debian's translators wrote it (`prompt`,"
        " `completion`).",
        source=SOURCE,
        licence=LICENCE,
        group=GROUP,
        pitfalls="a synopsis is translated from the English synopsis, which is not in the prompt",
    ),
    Piece(
        name="debian_sections",
        kind="tables",
        make=TableMaker("debian_sections", labels.section_rows),
        about="Descriptions and the section of the archive, sixteen that are about a subject (`text`, `label`).",
        source=SOURCE,
        licence=LICENCE,
        group=GROUP,
        pitfalls="a random split over all packages flatters; sections overlap (net and web, science and math)",
    ),
    Piece(
        name="debian_roles",
        kind="tables",
        make=TableMaker("debian_roles", labels.role_rows),
        about="Descriptions and what the package is: program, library, plugin, data … (`text`, `label`).",
        source=SOURCE + ", tag `role`",
        licence=LICENCE,
        group=GROUP,
        pitfalls="tags are made by volunteers and are wanting for newer packages",
    ),
    Piece(
        name="debian_languages",
        kind="tables",
        make=TableMaker("debian_languages", labels.language_rows),
        about="Descriptions and the programming language of the package (`text`, `label`).",
        source=SOURCE + ", tag `implemented-in`",
        licence=LICENCE,
        group=GROUP,
        pitfalls="half is Perl, whose Module::Names give it away; C and C++ can often not be told from the text",
    ),
    Piece(
        name="debian_uses",
        kind="tables",
        make=TableMaker("debian_uses", labels.use_rows),
        about="Descriptions and all that the package is used for (`text`, `labels`).",
        source=SOURCE + ", tag `use`",
        licence=LICENCE,
        group=GROUP,
        pitfalls="tags are incomplete: a missing label is not always a wrong one",
    ),
    Piece(
        name="debian_sizes",
        kind="tables",
        make=TableMaker("debian_sizes", labels.size_rows),
        about="Descriptions and the room that the installed package takes, as the base-10 logarithm of kilobytes"
        " (`text`, `target`): a regression with real numbers.",
        source=SOURCE + ", field `Installed-Size`",
        licence=LICENCE,
        group=GROUP,
        pitfalls="a text says only a part of how large its package is; of each source the package with the longest"
        " description is taken",
    ),
    Piece(
        name="debian_translations",
        kind="tables",
        make=TableMaker("debian_translations", translations.rows),
        about="Paragraphs of descriptions and their translations by people (`source`, `target`, `language`); counts by"
        " language are train / validation / test.",
        source="index of the Debian archive (main), bookworm, all packages, joined by Description-md5",
        licence=LICENCE,
        group="source package; a shared paragraph belongs to the first of its sources, the same in all languages",
        pitfalls="some translations may be edited machine output; names and commands stay English, so copying scores;"
        " descriptions whose paragraphs do not match in number are left out",
    ),
    Piece(
        name="debian_paragraphs",
        kind="tables",
        make=TableMaker("debian_paragraphs", paragraphs.rows),
        about="Distinct paragraphs of English descriptions (`text`), to go on with pre-training.",
        source="index of the Debian archive (main), bookworm, all packages",
        licence=LICENCE,
        group="source package, the first with the paragraph",
        pitfalls="old text: a model may have seen much of it",
    ),
    Piece(
        name="debian_edits",
        kind="tables",
        make=TableMaker("debian_edits", preferences.edit_rows),
        about="Human preferences: two synopses of one description (`prompt`, `chosen`, `rejected`), the chosen one is"
        " what a maintainer later made of the rejected one; `change` is `words` or `spelling`.",
        source="indexes of the Debian archive (main, amd64): bullseye (rejected) and sid (chosen), equal descriptions",
        licence=LICENCE,
        group=GROUP,
        pitfalls="a preference of style; few rows; a later edit is usually but not always the better one",
    ),
    Piece(
        name="debian_siblings",
        kind="tables",
        make=TableMaker("debian_siblings", preferences.sibling_rows),
        about="Made preferences: the synopsis of a description (`chosen`) and that of another package of the same"
        " source (`rejected`), which is wrong but close.",
        source="index of the Debian archive (main, amd64), bookworm, one pair a source",
        licence=LICENCE,
        group=GROUP,
        pitfalls="nobody chose: the rejected synopsis is right for another package, and differs often in one word",
    ),
    Piece(
        name="questions",
        kind="tables",
        make=TableMaker("questions", questions.rows),
        about="Extractive question answering (`question`, `context`, `answers` with text and start, as in SQuAD): six"
        " questions about packages; the answer is the first mention of what volunteers tagged the package with, where"
        " exactly one tagged value of its kind is mentioned. `value` is the tag; `rivals` counts other likely answers"
        " that the description mentions.",
        source="index of the Debian archive (main, amd64), bookworm, all packages with tags",
        licence=LICENCE,
        group=GROUP,
        pitfalls="answers are right by the tag, places are found by spelling: the first mention is not always the one"
        " that says it; without rivals it is enough to know the candidates, so report the rows with"
        " rivals too; the questions are six sentences, so this measures reading the context, not questions",
    ),
)
