"""A run as a record in Markdown: context, table, limits, resource peaks, reading. Made to be kept in a repository.

A record stands between two comments with its digest, so that writing it again replaces it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

from inferometer.analysis.rounds import view
from inferometer.report import repeated
from inferometer.report.content import Content, Judged, started, title, verdict
from inferometer.report.groups import tables
from inferometer.report.indicators import slo_rows
from inferometer.report.points import labels
from inferometer.report.run_context import context_rows, peaks, peaks_caption
from inferometer.report.stage_tables import server_notes, server_tables
from inferometer.report.tables import in_markdown, markdown, sweep

_TITLE = "# Benchmark results\n"
_MARKS = {True: "✓ met", False: "✗ missed", None: "not measured"}


def record(content: Content) -> str:
    """One run as a section of its own, with its marks around it; ends with a line end."""
    digest = _digest(content)
    blocks = [
        f"<!-- inferometer {digest} -->",
        f"## {in_markdown(title(content))}, {started(content)}",
        f"**{verdict(content.summary)}**{_why(content)}",
        "### Run context",
        markdown(("", ""), [(name, in_markdown(value)) for name, value in context_rows(content)]),
        "### Results",
        sweep(content.summary).replace("<", "&lt;") if content.summary["stages"] else "No stage was begun.",
        *_repeats(content),
        *_limits([*content.thresholds, *slo_rows(view(content.summary))]),
        *_failures(content),
        *_parts(content),
        *_server(content),
        *_peaks(content),
        *_reading(content.reading),
        f"<!-- end {digest} -->",
    ]
    return "\n\n".join(blocks) + "\n"


def added(existing: str, text: str) -> str:
    """A file of records with this one: in the place of an earlier copy, else at the end."""
    digest = text.split()[2]
    earlier = re.compile(rf"<!-- inferometer {digest} -->.*?<!-- end {digest} -->\n?", re.DOTALL)
    if earlier.search(existing):
        return earlier.sub(lambda _: text, existing, count=1)
    before = existing.rstrip() + "\n" if existing.strip() else _TITLE
    return f"{before}\n{text}"


def _digest(content: Content) -> str:
    """The same for the same run: its plan, and when it began."""
    known = (content.context.get("plan_sha256"), content.context.get("started"), title(content))
    return sha256(repr(known).encode()).hexdigest()[:16]


def _why(content: Content) -> str:
    """The findings behind a verdict that is not VALID."""
    stages = content.summary["stages"]
    found = [
        f"\n- {in_markdown(label)}: {finding['name']}, spoils {finding['spoils']}: {in_markdown(finding['advice'])}"
        for stage, label in zip(stages, labels(stages), strict=True)
        for finding in stage["verdict"]["findings"]
        if finding["severity"] != "note"
    ]
    return "\n" + "".join(found) if found else ""


def _repeats(content: Content) -> Iterator[str]:
    """Repeats of each stage together, with the spread between them."""
    if told := repeated.table(content.summary):
        yield "### Repeats"
        yield told


def _limits(rows: Sequence[Judged]) -> Iterator[str]:
    if rows:
        yield "### Limits"
        yield markdown(
            ("limit", "stage", "", "figure"),
            [(in_markdown(row.what), in_markdown(row.stage), _MARKS[row.met], in_markdown(row.figure)) for row in rows],
        )


def _failures(content: Content) -> Iterator[str]:
    stages = content.summary["stages"]
    rows = [
        (
            in_markdown(label),
            f"`{failure['kind']}`",
            str(failure["count"]),
            in_markdown(failure["first_example"] or "-")[:200],
        )
        for stage, label in zip(stages, labels(stages), strict=True)
        for failure in stage["counts"]["failures"]
    ]
    if rows:
        yield "### Failures"
        yield markdown(("stage", "kind", "requests", "first example"), rows)


def _parts(content: Content) -> Iterator[str]:
    stages = content.summary["stages"]
    for stage, label in zip(stages, labels(stages), strict=True):
        for title_, lines in tables(stage):
            yield f"### {title_}: {in_markdown(label)}"
            safe = [line.replace("<", "&lt;") for line in lines]
            yield "\n".join(line for line in safe if line.startswith("|"))
            yield from (line for line in safe if not line.startswith("|"))


def _server(content: Content) -> Iterator[str]:
    """What the servers said of each stage; means in ms."""
    if tables := server_tables(content):
        yield "### What the server saw"
    for told in tables:
        yield markdown(told.header, [[in_markdown(cell) for cell in row] for row in told.rows])
    if notes := server_notes(content):
        yield "\n".join(f"- {in_markdown(note)}" for note in notes)


def _peaks(content: Content) -> Iterator[str]:
    if rows := peaks(content):
        yield f"Resource peaks over the run ({peaks_caption(content)}):"
        yield markdown(("", "peak"), rows)


def _reading(sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield "### What the numbers say"
        yield "\n".join(f"- {sentence}".replace("<", "&lt;") for sentence in sentences)
