"""`questions`: extractive question answering. The answer is a word of the description that a human-made tag confirms.

Somebody who tagged a package said that it uses GTK; the description says "GTK+": that is the answer to "Which toolkit
draws its windows?". A question is asked only where exactly one tagged value of its kind is mentioned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from evidence.debian.apt import open_apt
from evidence.debian.archive import STABLE, has_text, side_of
from evidence.debian.index import Package, packages
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped

QUESTIONS = {
    "implemented-in": "Which programming language is it written in?",
    "uitoolkit": "Which library draws its user interface?",
    "protocol": "Which protocol does it speak?",
    "works-with-format": "Which file format does it work with?",
    "suite": "Which larger project does it belong to?",
    "culture": "Which language or people is it made for?",
}
COMMON = {
    "implemented-in": ("c", "c++", "java", "ocaml", "perl", "python", "lisp", "ruby", "shell", "tcl", "php"),
    "uitoolkit": ("gtk", "motif", "ncurses", "qt", "sdl", "tk", "wxwidgets", "xlib"),
    "protocol": ("dns", "ftp", "http", "imap", "ipv6", "irc", "ldap", "smtp", "ssh", "ssl", "tcp", "udp"),
    "works-with-format": ("html", "jpg", "mp3", "pdf", "png", "postscript", "svg", "tex", "wav", "xml", "zip"),
    "suite": ("apache", "debian", "emacs", "gimp", "gnome", "gnu", "kde", "mozilla", "openstack", "xfce"),
    "culture": ("arabic", "chinese", "french", "german", "italian", "japanese", "korean", "russian", "spanish"),
}
"""Values that could be taken for the answer where they are mentioned and not meant."""

SPELLINGS = {
    "c": r"C(?![+#\w]| shell| library)",
    "c++": r"C\+\+",
    "c-sharp": r"C#",
    "ecmascript": r"(?:JavaScript|ECMAScript)",
    "objc": r"Objective[- ]C",
    "ocaml": r"(?:OCaml|Objective Caml)",
    "lisp": r"(?:Common Lisp|Emacs Lisp|Lisp|elisp)",
    "r": r"R(?![\w&])",
    "shell": r"(?:Bourne shell|shell scripts?|shell|bash)",
    "gtk": r"(?:GTK|Gtk)(?:\+|[ -]?[234](?:\.0)?\b)*",
    "qt": r"Qt(?:[ -]?[3456]\b)?",
    "sdl": r"(?:libSDL|SDL)(?:2|-?1\.2)?",
    "ncurses": r"n?curses",
    "wxwidgets": r"wx(?:Widgets|Windows|Python|GTK)",
    "xlib": r"Xlib",
    "athena": r"Athena",
    "tk": r"(?:Tcl/Tk|Tk)",
    "ip": r"TCP/IP",
    "ssl": r"(?:SSL/TLS|TLS/SSL|SSL|TLS)",
    "pop3": r"POP-?3",
    "smb": r"(?:SMB/CIFS|SMB|CIFS)",
    "jabber": r"(?:Jabber|XMPP)",
    "voip": r"(?:VoIP|Voice over IP)",
    "zeroconf": r"(?:Zeroconf|zeroconf|Bonjour)",
    "oggvorbis": r"(?:Ogg[ /-]?Vorbis|Ogg|Vorbis)",
    "plaintext": r"(?:plain text|ASCII)",
    "jpg": r"JPE?G",
    "iso9660": r"ISO[- ]?9660",
    "tex": r"(?:LaTeX|TeX)",
    "xml:rss": r"RSS",
    "rdf:xml": r"RDF(?:/XML)?",
    "postscript": r"Post[Ss]cript",
    "man": r"(?:man pages?|manpages?|manual pages?)",
    "bib": r"BibTeX",
}
"""How a tag's value is written in prose, where not simply as it is; letters in capitals count."""

SIZES = {"train": 100, "validation": 10, "test": 25}
"""Rows of one answer at most, of those without rivals and of those with: none of them is worth guessing."""


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (question, context, answers, value, rivals, group, split) and how many each question has.

    `answers` is as in SQuAD: text and start, one each. `rivals` counts other likely answers in the context.
    """
    apt = open_apt(workshop.cache)
    found = [row for package in packages(apt, STABLE) if has_text(package) for row in asked(package)]
    distinct: list[Row] = []
    for question in QUESTIONS.values():
        distinct += apart([row for row in found if row["question"] == question], "context")
    kept = capped(distinct, SIZES, key=lambda row: (row["value"], bool(row["rivals"])))
    asked_for = dict(Counter(str(row["question"]) for row in kept).most_common())
    with_rivals = sum(bool(row["rivals"]) for row in kept if row["split"] == "test")
    return kept, {"questions": asked_for, "test_rows_with_rivals": with_rivals, "index_date": apt.date(STABLE)}


def asked(package: Package) -> Iterator[Row]:
    """Yield a row for each question that the package's tags answer with one word of its description."""
    text = package.description.text
    for facet, question in QUESTIONS.items():
        mentioned = [
            (value, match) for value in package.tags.get(facet, ()) if value.islower() and (match := find(value, text))
        ]
        if len(mentioned) == 1:
            value, match = mentioned[0]
            answers = {"text": [match[0]], "answer_start": [match.start()]}
            rivals = sum(known != value and find(known, text) is not None for known in COMMON[facet])
            row: Row = {"question": question, "context": text, "answers": answers, "value": f"{facet}::{value}"}
            row |= {"rivals": rivals}
            yield {**row, "group": package.source, "split": side_of(package.source)}


def find(value: str, text: str) -> re.Match[str] | None:
    """Return where `text` first mentions the tag's value, as a word of its own."""
    spelling = SPELLINGS.get(value)
    if spelling:
        return re.search(rf"(?<![\w:+/.-]){spelling}(?![\w:])", text)
    return re.search(rf"(?<![\w:+/.-]){re.escape(value)}(?![\w:])", text, re.IGNORECASE)
