"""A comparison as one self-contained page: what came of it, what differs, every change with its interval, curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec

from inferometer.analysis.alike import Difference
from inferometer.analysis.compare import Comparison, Row
from inferometer.analysis.sides import Point
from inferometer.analysis.thresholds import amount, figure
from inferometer.report import comparison_charts as charts
from inferometer.report.comparison import TOLD, change, counted, headline, legend, verdict
from inferometer.report.junit import MET, MISSED, SKIPPED, Case, sign
from inferometer.report.markup import element, inline, table, text
from inferometer.report.page import document, nav, section
from inferometer.report.page import figure as place
from inferometer.report.panels import Panel

#: Figures that are drawn against the load, each a chart.
DRAWN = (
    "output_tokens_per_s",
    "requests_per_s",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "itl_p50_ms",
    "e2el_p50_ms",
    "e2el_p95_ms",
)
#: Pairs that are drawn against each other: a rate, a latency.
TRADES = (("output_tokens_per_s", "ttft_p50_ms"), ("output_tokens_per_s", "e2el_p50_ms"))
#: What ``Compared.points`` should hold.
CURVES = tuple(dict.fromkeys((*DRAWN, *(name for pair in TRADES for name in pair))))
#: With at most so many stages a forest plot is about a stage; with more it is about a figure.
FEW_STAGES = 3
#: So many sentences are shown at once; the others are folded away.
MOST_SENTENCES = 12
_TONES = {
    "worse": "invalid",
    "mixed": "client-limited",
    "better": "valid",
    "no change": "valid",
    "unclear": "client-limited",
}
_CLASSES = {
    "regression": "no",
    "slightly worse": "no",
    "improvement": "yes",
    "slightly better": "yes",
}
_SIGNS = {MET: ("✓ kept", "yes"), MISSED: ("✗ missed", "no"), SKIPPED: ("? not judged", "none")}
_SEVERITIES = {"refuse": ("not alike", "invalid"), "warn": ("warning", "client-limited"), "note": ("differs", "")}
_RULE = (
    "A change is called a regression or an improvement if it is larger than the limit (5 %, or 1 percentage point of a "
    "share, unless a rule says otherwise) and than the noise. p-values are corrected for the number of figures."
)
_NOTES = {
    "changes": "Points are changes from the base, lines their 95 % intervals (hollow: not known); changes inside the "
    "grey band are not called a regression.",
    "curves": "Vertical lines are 95 % intervals.",
}


class Compared(msgspec.Struct, frozen=True):
    """What the page shows.

    ``points`` are figures of all stages, for curves; ``cases`` rules and thresholds that were judged; ``contexts`` by
    label what is known of its runs.
    """

    comparison: Comparison
    points: Sequence[Point]
    cases: Sequence[Case] = ()
    contexts: Mapping[str, Mapping[str, str]] = {}


def page(compared: Compared) -> str:
    """The whole page as HTML. Every text from outside is escaped."""
    drawn: list[Panel] = []

    def figures(found: Sequence[Panel]) -> str:
        drawn.extend(found)
        return element("div", "".join(map(place, found)), cls="charts") if found else ""

    comparison = compared.comparison
    parts = (
        ("limits", "Limits", _cases(compared.cases)),
        ("context", "What differs between the runs", _context(compared)),
        ("changes", "Changes", figures(list(_forests(comparison)))),
        ("sentences", "In words", _sentences(comparison)),
        ("curves", "Throughput and latency", figures(list(_curves(compared)))),
        ("figures", "All figures", _tables(comparison)),
        ("method", "How this was judged", _method(comparison)),
    )
    kept = [part for part in parts if part[2]]
    name = headline(comparison)
    lead = f"{len(_stages(comparison))} stages, {len(comparison.rows)} figures compared"
    body = "\n".join(
        [
            nav([part[0] for part in kept]),
            element("header", element("div", _head(name, lead, compared))),
            element("main", "\n".join(section(*part, note=_NOTES.get(part[0], "")) for part in kept)),
            element("footer", "Inferometer. Latencies in ms. The first run is the base."),
        ]
    )
    return document(name, body, drawn)


def _stages(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(row.stage for row in comparison.rows))


def _head(name: str, lead: str, compared: Compared) -> str:
    banners = []
    for label, (word, sentence) in verdict(compared.comparison).items():
        told = element("strong", text(f"{label}: {word}")) + f" {text(sentence)}"
        banners.append(element("div", told, cls=f"verdict tone-{_TONES[word]}"))
    missed = [case for case in compared.cases if not case.passed]
    if missed:
        told = element("strong", "✗ limits missed") + f" {len(missed)} of {len(compared.cases)}: see below."
        banners.append(element("div", told, cls="verdict tone-invalid"))
    doubts = sum(one.severity != "note" for one in compared.comparison.differing)
    if doubts:
        told = f"The runs are not quite alike, in {doubts} respect{'s' if doubts > 1 else ''}: see what differs."
        banners.append(element("p", told, cls="soft"))
    tiles = "".join(
        element("div", element("b", str(count)) + element("span", text(outcome)), cls="tile")
        for outcome, count in counted(compared.comparison)
    )
    return (
        element("h1", text(name))
        + element("p", text(lead), cls="lead")
        + "".join(banners)
        + element("div", tiles, cls="tiles")
    )


def _cases(cases: Sequence[Case]) -> str:
    """Those that are missed stand first; of many, those that are kept are folded away."""
    ranked = sorted(cases, key=lambda case: (MISSED, SKIPPED, MET).index(sign(case)))
    kept = [case for case in ranked if sign(case) == MET]
    if len(cases) <= MOST_SENTENCES:
        return _case_list(ranked)
    folded = element("details", element("summary", f"{len(kept)} kept") + _case_list(kept), cls="prints")
    return _case_list(ranked[: len(ranked) - len(kept)]) + (folded if kept else "")


def _case_list(cases: Sequence[Case]) -> str:
    items = [
        element("span", _SIGNS[sign(case)][0], cls=_SIGNS[sign(case)][1])
        + f" {element('code', text(case.name))} {text(_about(case))}"
        for case in cases
    ]
    return element("ul", "".join(element("li", item) for item in items), cls="limits") if items else ""


def _about(case: Case) -> str:
    """The sentence of a case; it names the stage itself, or follows its name."""
    label, _, stage = case.group.partition(": ")
    return f"{label}, {case.sentence}" if case.sentence.startswith(stage) else f"{case.group}: {case.sentence}"


def _context(compared: Compared) -> str:
    """Facts that differ, the worst first; those that agree are folded away."""
    comparison = compared.comparison
    rows = [
        [_severity(one), text(one.fact), *map(text, one.values), text(one.why or "-")] for one in comparison.differing
    ]
    header = ("", "fact", *map(text, comparison.labels), "why it matters")
    blocks = [table(header, rows, cls="words") if rows else element("p", "Nothing that is known of the runs differs.")]
    if comparison.unmatched:
        blocks.append(element("p", text(f"Not in all runs, so not compared: {', '.join(comparison.unmatched)}.")))
    differing = {one.fact for one in comparison.differing}
    first = compared.contexts.get(comparison.labels[0], {})
    same = [
        [text(fact), text(value)] for fact, value in first.items() if fact not in differing and _common(compared, fact)
    ]
    if same:
        facts = table(("fact", "in all runs"), same, cls="words")
        blocks.append(element("details", element("summary", "What is the same") + facts, cls="prints"))
    return "".join(blocks)


def _common(compared: Compared, fact: str) -> bool:
    return len({context.get(fact) for context in compared.contexts.values()}) == 1


def _severity(one: Difference) -> str:
    word, tone = _SEVERITIES[one.severity]
    return element("span", word, cls=f"chip tone-{tone}") if tone else element("span", word, cls="soft")


def _forests(comparison: Comparison) -> Iterator[Panel]:
    stages = _stages(comparison)
    titles = list(dict.fromkeys(figure(row.figure).title for row in comparison.rows))
    by = "figure" if len(stages) <= FEW_STAGES else "stage"
    wanted = [(stage, [row for row in comparison.rows if row.stage == stage]) for stage in stages]
    if by == "stage":
        names = dict.fromkeys(row.figure for row in comparison.rows)
        wanted = [(charts.title(name), [row for row in comparison.rows if row.figure == name]) for name in names]
    several = max(1, len(comparison.labels) - 1)
    for number, (title, rows) in enumerate(wanted):
        known = [row for row in rows if row.change is not None]
        if known:
            lines = len({(row.figure, row.stage) for row in known})
            chart = charts.forest(known, titles if by == "figure" else stages, by=by)
            height = round(charts.LINE * lines * max(1.0, 0.7 * several))
            yield Panel(f"forest-{number}", title, "", chart, height)


def _curves(compared: Compared) -> Iterator[Panel]:
    labels = compared.comparison.labels
    for name in DRAWN:
        mine = [point for point in compared.points if point.figure == name]
        if len({point.stage for point in mine}) > 1:
            chart = charts.overlay(mine, labels, name)
            yield Panel(f"curve-{name.replace('_', '-')}", charts.title(name), "", chart)
    for pair in TRADES:
        drawn = charts.trade(compared.points, labels, pair)
        if drawn is not None and len({point.stage for point in compared.points}) > 1:
            heading = f"{charts.title(pair[0])} against {figure(pair[1]).title}"
            yield Panel(f"trade-{pair[1].replace('_', '-')}", heading, "Each point is a stage.", drawn)


def _sentences(comparison: Comparison) -> str:
    """One for each change that is more than noise, the largest first."""
    told = sorted((row for row in comparison.rows if row.outcome in TOLD), key=lambda row: -abs(row.change or 0.0))
    several = len(comparison.labels) > 2
    items = [element("li", inline(f"{row.label}, {row.sentence}" if several else row.sentence)) for row in told]
    if not items:
        return element("p", "No change is more than the noise.")
    shown, rest = items[:MOST_SENTENCES], items[MOST_SENTENCES:]
    more = element("summary", f"{len(rest)} more") + element("ul", "".join(rest))
    return element("ul", "".join(shown)) + (element("details", more, cls="prints") if rest else "")


def _tables(comparison: Comparison) -> str:
    """A table for each stage: the base, then each other run with its change."""
    base, *others = comparison.labels
    header = ["figure", text(base), *(cell for label in others for cell in (text(label), "change", ""))]
    blocks = []
    for stage, rows in groupby(sorted(comparison.rows, key=lambda row: _stages(comparison).index(row.stage)), _stage):
        lines: dict[str, dict[str, Row]] = {}
        for row in rows:
            lines.setdefault(row.figure, {})[row.label] = row
        cells = [_cells(name, by_label, others) for name, by_label in lines.items()]
        blocks.append(element("div", element("h3", text(stage)) + table(header, cells, cls="tight")))
    return element("div", "".join(blocks), cls="charts" if len(others) == 1 else "charts one")


def _stage(row: Row) -> str:
    return row.stage


def _cells(name: str, rows: Mapping[str, Row], others: Sequence[str]) -> list[str]:
    subject = figure(name)
    first = next(iter(rows.values()))
    cells = [
        element("span", text(subject.title), title=subject.definition),
        text(amount(first.base.value, subject.unit)),
    ]
    for label in others:
        row = rows.get(label)
        if row is None:
            cells += ["-", "-", ""]
            continue
        told, _, interval = change(row).partition(" [")
        below = element("small", text(f"{interval.rstrip(']').replace(', ', ' to ')}")) if interval else ""
        word = element("span", row.outcome, cls=_CLASSES.get(row.outcome, "none"))
        cells += [text(amount(row.other.value, subject.unit)), text(told) + below, word]
    return cells


def _method(comparison: Comparison) -> str:
    return "".join(element("p", text(sentence)) for sentence in (_RULE, *legend(comparison)))
