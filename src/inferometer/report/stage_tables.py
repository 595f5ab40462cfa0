"""Tables of the page about parts of each stage, and about what the servers said of it beside what the client saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from inferometer.report import groups
from inferometer.report.content import Content
from inferometer.report.markup import element, table, text
from inferometer.report.points import heading, labels, points
from inferometer.report.tables import short, whole

Entry = dict[str, Any]


def parts(content: Content) -> str:
    """Prefixes, replicas, classes and turns of every stage that has some; a kind is a table, a stage part of it."""
    stages, load = content.summary["stages"], heading(points(content.summary)).partition(" (")[0]
    kinds: dict[str, list[str]] = {}
    for stage, label in zip(stages, labels(stages), strict=True):
        for title, lines in groups.tables(stage):
            named = element("h4", text(f"{load} {label}".capitalize())) if len(stages) > 1 else ""
            kinds.setdefault(title, []).append(named + _from_lines(lines))
    blocks = (
        element("h3", text(title)) + element("div", "".join(element("div", one) for one in shown), cls="charts")
        for title, shown in kinds.items()
    )
    return "".join(blocks)


def _from_lines(lines: Sequence[str]) -> str:
    """A table in Markdown as elements, and the sentences under it."""
    rows = [_cells(line) for line in lines if line.startswith("|")]
    below = "".join(element("p", text(line), cls="soft") for line in lines if not line.startswith("|"))
    return table(rows[0], rows[2:]) + below


def _cells(line: str) -> list[str]:
    return [text(cell.strip()) for cell in line.removeprefix("| ").removesuffix(" |").split(" | ")]


class Told(NamedTuple):
    """A table in plain text: titles of columns, and a line for each stage that a server said something of."""

    header: list[str]
    rows: list[list[str]]


def server_tables(content: Content) -> list[Told]:
    """What the servers had to carry, then what they say of it beside the client; columns that some stage has."""
    views = list(_views(content))
    named = heading(points(content.summary))
    tables = []
    for columns in (_CARRIED, _BESIDE):
        shown = {title: read for title, read in columns.items() if any(read(view) for _, view in views)}
        rows = [[label, *(read(view) or "-" for read in shown.values())] for label, view in views]
        tables += [Told([named, *shown], rows)] if shown else []
    return tables


def server_notes(content: Content) -> list[str]:
    """What spoils these figures, each with its stage."""
    return [f"{label}: {note}" for label, view in _views(content) for note in view["notes"]]


def server(content: Content) -> str:
    """What the servers said of each stage, beside what the client saw; empty if nothing was told."""
    tables = (
        table([text(cell) for cell in told.header], [[text(cell) for cell in row] for row in told.rows])
        for told in server_tables(content)
    )
    notes = "".join(element("li", text(note)) for note in server_notes(content))
    return "".join(tables) + (element("ul", notes) if notes else "")


def _views(content: Content) -> Iterator[tuple[str, Entry]]:
    stages = content.summary["stages"]
    named = zip(labels(stages), stages, strict=True)
    return ((label, stage["server"]) for label, stage in named if stage.get("server"))


def _peak(name: str) -> Callable[[Entry], str]:
    return lambda view: "" if view[name] is None else f"{view[name]:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _hits(view: Entry) -> str:
    return _share(view["engines"].get(view["compared_with"], {}).get("prefix_cache_hit_rate"))


def _means(name: str) -> Callable[[Entry], str]:
    """Both means, and client less server."""

    def cell(view: Entry) -> str:
        pair = view["compared"].get(name)
        if pair is None:
            return ""
        difference_ms = round(pair["difference_ms"], 1) + 0.0  # no -0.0
        return f"{short(pair['client_mean_ms'])} / {short(pair['server_mean_ms'])} ({difference_ms:+.1f})"

    return cell


def _totals(name: str) -> Callable[[Entry], str]:
    def cell(view: Entry) -> str:
        pair = view["compared"].get(name)
        return f"{whole(pair['client'])} / {whole(pair['server'])}" if pair else ""

    return cell


def _queue(view: Entry) -> str:
    engine = view["engines"].get(view["compared_with"], {})
    mean_ms = engine.get("histograms", {}).get("queue_s", {}).get("mean_ms")
    return "" if mean_ms is None else short(mean_ms)


def _energy(view: Entry) -> str:
    found = (gpus.get("energy_j_per_output_token") for gpus in view["gpus"].values())
    return next((f"{joules:.3g}" for joules in found if joules is not None), "")


#: Title of a column -> its text for a stage; "" if it was not told. Times are means in ms.
_CARRIED: dict[str, Callable[[Entry], str]] = {
    "running, peak": _peak("running_peak"),
    "waiting, peak": _peak("waiting_peak"),
    "KV cache, peak": lambda view: _share(view["kv_cache_usage_peak"]),
    "prefix hits": _hits,
    "pre-emptions": _peak("preemptions"),
    "GPU, peak": lambda view: _share(view["gpu_utilisation_peak"]),
    "J per output token": _energy,
}
_BESIDE: dict[str, Callable[[Entry], str]] = {
    "queue": _queue,
    "TTFT, client / server": _means("ttft"),
    "TPOT, client / server": _means("tpot"),
    "E2E, client / server": _means("e2el"),
    "tokens in, client / server": _totals("prompt_tokens"),
    "tokens out, client / server": _totals("output_tokens"),
}
