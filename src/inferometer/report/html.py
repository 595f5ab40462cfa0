"""The page of a run: everything that a report shows, in sections."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from inferometer.analysis.rounds import view
from inferometer.report import panels, repeated, sections, stage_tables
from inferometer.report.content import Content, started, title
from inferometer.report.markup import element, text
from inferometer.report.page import document, figure, nav, section
from inferometer.report.panels import Panel

_SAMPLED = (
    "At most 64 requests of a stage, evenly chosen by the time of their send. Drag to move; Shift and wheel to zoom."
)


def page(content: Content) -> str:
    """The whole page as HTML. Every text from outside is escaped."""
    drawn: list[Panel] = []

    def figures(found: Sequence[Panel], *, one: bool = False) -> str:
        drawn.extend(found)
        return element("div", "".join(map(figure, found)), cls="charts one" if one else "charts") if found else ""

    whole = replace(content, summary=view(content.summary))  # repeats of a stage together
    parts = (
        ("context", "Run context", sections.run_context(content)),
        ("reading", "What the numbers say", sections.reading(content) if content.reading else ""),
        ("sweep", "Load and latency", figures(panels.sweep(whole)) + _sweep_table(content)),
        ("repeats", "Repeats", repeated.section(content.summary)),
        ("limits", "Limits", sections.limits(whole)),
        ("server", "What the server saw", stage_tables.server(content)),
        ("parts", "Parts of the load", stage_tables.parts(content)),
        ("distributions", "Distributions", figures(panels.distributions(content))),
        ("time", "Over time", figures(panels.over_time(content), one=True)),
        ("requests", "Timeline of requests", figures(panels.timeline(content), one=True)),
        ("percentiles", "Percentiles", sections.percentiles(whole)),
        ("errors", "Errors", sections.errors(content)),
        ("instrument", "Instrument", sections.instrument(content)),
        ("definitions", "Definitions", sections.all_definitions()),
    )
    kept = [part for part in parts if part[2]]
    body = "\n".join(
        [
            nav([name for name, _, _ in kept]),
            element("header", element("div", _head(content, whole))),
            element("main", "\n".join(section(*part, note=_NOTES.get(part[0], "")) for part in kept)),
            element(
                "footer", f"Inferometer {text(content.summary['tool_version'])}. All times in ms unless said otherwise."
            ),
        ]
    )
    return document(title(content), body, drawn)


def _sweep_table(content: Content) -> str:
    """A line for each stage as it was played; folded away where a table of their repeats follows."""
    told = sections.sweep_table(content)
    if not content.summary.get("repeats"):
        return told
    return element("details", element("summary", "Each stage as it was played") + told, cls="prints")


def _head(content: Content, whole: Content) -> str:
    count = len(content.summary["stages"])
    lead = f"{content.summary['target']['base_url']}, {count} stage{'' if count == 1 else 's'}, {started(content)}"
    return (
        element("h1", text(title(content)))
        + element("p", text(lead), cls="lead")
        + sections.verdict_banner(content)
        + sections.tiles(whole)
    )


_NOTES = {
    "server": "Peaks are those of samples, about one a second. Latencies are means in ms; in brackets client less "
    "server: the network, and what waits before the server's clock starts.",
    "parts": "Latencies in ms. ~ too few samples for a 95 % interval.",
    "requests": _SAMPLED,
    "distributions": "A click on the legend leaves one stage in colour. Scales of latency are logarithmic.",
    "time": "All charts of this section have the same axis. Server figures stand here if the run recorded them.",
    "percentiles": "Below each value: its 95 % interval; between repeats if stages were repeated, else inside this "
    "run, which knows nothing of what changes between runs.",
}
