"""One self-contained page: no file beside it, no network.

The charts' library is inside, and the policy of the page forbids everything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from inferometer.report import panels, sections, stage_tables
from inferometer.report.content import Content, started, title
from inferometer.report.markup import element, text
from inferometer.report.panels import Panel

#: Nothing is loaded from anywhere. Charts are drawn without ``eval``.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_SAMPLED = (
    "At most 64 requests of a stage, evenly chosen by the time of their send. Drag to move; Shift and wheel to zoom."
)


def page(content: Content) -> str:
    """The whole page as HTML. Every text from outside is escaped."""
    drawn: list[Panel] = []

    def figures(found: Sequence[Panel], *, one: bool = False) -> str:
        drawn.extend(found)
        return element("div", "".join(map(_figure, found)), cls="charts one" if one else "charts") if found else ""

    parts = (
        ("context", "Run context", sections.run_context(content)),
        ("reading", "What the numbers say", sections.reading(content) if content.reading else ""),
        ("sweep", "Load and latency", figures(panels.sweep(content)) + sections.sweep_table(content)),
        ("limits", "Limits", sections.limits(content)),
        ("server", "What the server saw", stage_tables.server(content)),
        ("parts", "Parts of the load", stage_tables.parts(content)),
        ("distributions", "Distributions", figures(panels.distributions(content))),
        ("time", "Over time", figures(panels.over_time(content), one=True)),
        ("requests", "Timeline of requests", figures(panels.timeline(content), one=True)),
        ("percentiles", "Percentiles", sections.percentiles(content)),
        ("errors", "Errors", sections.errors(content)),
        ("instrument", "Instrument", sections.instrument(content)),
        ("definitions", "Definitions", sections.all_definitions()),
    )
    kept = [part for part in parts if part[2]]
    body = "\n".join(
        [
            _nav([name for name, _, _ in kept]),
            element("header", element("div", _head(content))),
            element("main", "\n".join(_section(*part) for part in kept)),
            element(
                "footer", f"Inferometer {text(content.summary['tool_version'])}. All times in ms unless said otherwise."
            ),
        ]
    )
    return _document(title(content), body, {panel.name: _spec(panel) for panel in drawn})


def _head(content: Content) -> str:
    count = len(content.summary["stages"])
    lead = f"{content.summary['target']['base_url']}, {count} stage{'' if count == 1 else 's'}, {started(content)}"
    return (
        element("h1", text(title(content)))
        + element("p", text(lead), cls="lead")
        + sections.verdict_banner(content)
        + sections.tiles(content)
    )


def _nav(names: Sequence[str]) -> str:
    named = "".join(element("a", name.capitalize(), href=f"#{name}") for name in names)
    button = element("button", "Light / dark", id="theme", type="button")
    return element("nav", element("div", element("div", named, cls="links") + button), aria_label="Sections")


_NOTES = {
    "server": "Peaks are those of samples, about one a second. Latencies are means in ms; in brackets client less "
    "server: the network, and what waits before the server's clock starts.",
    "parts": "Latencies in ms. ~ too few samples for a 95 % interval.",
    "requests": _SAMPLED,
    "distributions": "A click on the legend leaves one stage in colour. Scales of latency are logarithmic.",
    "time": "All charts of this section have the same axis. Server figures stand here if the run recorded them.",
    "percentiles": "Below each value: its 95 % interval, for this run only; what changes between runs needs repeats.",
}


def _section(name: str, label: str, inside: str) -> str:
    note = element("p", _NOTES[name], cls="soft") if name in _NOTES else ""
    return element("section", element("h2", text(label)) + note + inside, id=name)


def _figure(panel: Panel) -> str:
    caption = element("figcaption", text(panel.caption)) if panel.caption else ""
    chart = element("div", "", id=panel.name, cls="chart", role="img", aria_label=panel.title)
    return element("figure", element("h3", text(panel.title)) + chart + caption)


def _spec(panel: Panel) -> dict[str, object]:
    """The chart as wide as its place; colours of text come from the page."""
    spec: dict[str, object] = panel.chart.properties(width="container", height=panel.height).to_dict()
    spec.pop("config", None)
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def _document(name: str, body: str, specs: dict[str, dict[str, object]]) -> str:
    # "<" cannot end a script inside a JSON string that has none
    data = json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    head = "\n".join(
        (
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="generator" content="Inferometer">',
            element("title", text(name)),
            element("style", _asset("report.css")),
        )
    )
    scripts = "\n".join(
        (
            f'<script type="application/json" id="specs">{data}</script>',
            f"<script type='module'>{_library()}</script>",
            f"<script type='module'>{_asset('report.js')}</script>",
        )
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n{scripts}\n</body>\n</html>\n'


def _asset(name: str) -> str:
    return (files("inferometer.report") / "assets" / name).read_text("utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script of about 0.9 MB; ``window.vegaEmbed`` afterwards."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub calls the snippet required
    return str(bundle).replace("</script", "<\\/script")
