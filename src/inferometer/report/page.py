"""One self-contained page: no file beside it, no network.

The charts' library is inside, and the policy of the page forbids everything else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from inferometer.report.markup import element, text

if TYPE_CHECKING:
    from inferometer.report.panels import Panel

#: Nothing is loaded from anywhere. Charts are drawn without ``eval``.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
POLICY_OF_CHARTS = f"{POLICY}; script-src 'unsafe-inline'; img-src data: blob:"


def nav(names: Sequence[str]) -> str:
    """Links to the sections of these names, and the switch between light and dark."""
    named = "".join(element("a", name.capitalize(), href=f"#{name}") for name in names)
    button = element("button", "Light / dark", id="theme", type="button")
    return element("nav", element("div", element("div", named, cls="links") + button), aria_label="Sections")


def section(name: str, label: str, inside: str, note: str = "") -> str:
    """A section with a heading; ``inside`` is HTML, ``note`` is text that says how to read it."""
    told = element("p", text(note), cls="soft") if note else ""
    return element("section", element("h2", text(label)) + told + inside, id=name)


def figure(panel: Panel) -> str:
    """The place of a chart, with its title and what to know to read it."""
    caption = element("figcaption", text(panel.caption)) if panel.caption else ""
    chart = element("div", "", id=panel.name, cls="chart", role="img", aria_label=panel.title)
    return element("figure", element("h3", text(panel.title)) + chart + caption)


def _spec(panel: Panel) -> dict[str, object]:
    """The chart as wide as its place; colours of text come from the page."""
    spec: dict[str, object] = panel.chart.properties(width="container", height=panel.height).to_dict()
    spec.pop("config", None)
    return {**spec, "autosize": {"type": "fit-x", "contains": "padding"}}


def document(name: str, body: str, panels: Sequence[Panel] | None = None) -> str:
    """The whole page as HTML: its title, its body, and the charts for which there is a ``figure`` in it.

    Without ``panels`` the page has no scripts, and forbids them.
    """
    scripts, policy = ("", POLICY) if panels is None else (_scripts(panels), POLICY_OF_CHARTS)
    head = "\n".join(
        (
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="generator" content="Inferometer">',
            element("title", text(name)),
            element("style", _asset("report.css")),
        )
    )
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n{scripts}\n</body>\n</html>\n'


def _scripts(panels: Sequence[Panel]) -> str:
    specs = {panel.name: _spec(panel) for panel in panels}
    # "<" cannot end a script inside a JSON string that has none
    data = json.dumps(specs, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return "\n".join(
        (
            f'<script type="application/json" id="specs">{data}</script>',
            f"<script type='module'>{_library()}</script>",
            f"<script type='module'>{_asset('report.js')}</script>",
        )
    )


def _asset(name: str) -> str:
    return (files("inferometer.report") / "assets" / name).read_text("utf-8")


@cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script of about 0.9 MB; ``window.vegaEmbed`` afterwards."""
    import vl_convert

    bundle = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub calls the snippet required
    return str(bundle).replace("</script", "<\\/script")
