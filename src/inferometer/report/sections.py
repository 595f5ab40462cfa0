"""The sections of the page, each a function from content to HTML; an empty one returns an empty text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.window import RATES
from inferometer.report import definitions
from inferometer.report.content import Content, Judged, verdict
from inferometer.report.indicators import mlperf_rows, slo_rows
from inferometer.report.markup import element, inline, markdown, table, text
from inferometer.report.points import heading, labels, points
from inferometer.report.run_context import context_rows, peaks, peaks_caption
from inferometer.report.tables import FEW, per_second, short, whole

#: What a verdict says to a reader who sees it for the first time.
MEANINGS = {
    "VALID": "The client sent and read on time; these numbers are the server's.",
    "CLIENT-LIMITED": "The client could not send or read on time; what is marked below is not the server's alone.",
    "INVALID": "These numbers must not be used: see why below.",
}
_LEVELS = {"closed": "concurrency {}", "open": "{} req/s", "trace": "{} req/s", "users": "{} users"}
_SHOWN = ("ttft", "itl", "tpot", "e2el")
_STATES = {"interrupted": "The run was interrupted: later requests were not sent.", "running": "The run did not end."}
_STATISTICS = ("mean", "50", "90", "95", "99")


def verdict_banner(content: Content) -> str:
    """The worst verdict, its meaning, and every finding that is more than a note."""
    summary, word = content.summary, verdict(content.summary)
    state = _STATES.get(summary.get("state", ""), "")
    told = element("strong", f"{_mark(word == 'VALID')} {word}") + f" {MEANINGS[word]} {state}"
    items = _findings(summary, notes=False)
    return element("div", told + items, cls=f"verdict tone-{word.lower()}", id="verdict")


def tiles(content: Content) -> str:
    """The four figures that everyone asks for first."""
    rows = points(content.summary)
    ok, failed = sum(row["ok"] for row in rows), sum(row["failed"] for row in rows)
    found = [(f"{ok:,}", f"requests answered, {failed:,} failed")]
    known = [row for row in rows if row["output_tokens_per_s"] is not None]
    if known:
        best = max(known, key=lambda row: row["output_tokens_per_s"])
        where = f" at {_where(best)}" if len(rows) > 1 else ""
        found.append((f"{best['output_tokens_per_s']:,.0f} tok/s", f"highest output throughput{where}"))
        if best.get("ttft_p95_ms") is not None:
            found.append(
                (f"{short(best['ttft_p95_ms'])}{_few(best, 'ttft_p95')} ms", f"TTFT p95{' there' if where else ''}")
            )
        if best.get("itl_p95_ms") is not None:
            found.append(
                (f"{short(best['itl_p95_ms'])}{_few(best, 'itl_p95')} ms", f"ITL p95{' there' if where else ''}")
            )
    attained = [row["attainment"] for row in rows if row["attainment"] is not None]
    if attained:
        found.append((f"{100 * min(attained):.1f} %", "SLO attainment, lowest of all stages"))
    inside = [element("div", element("b", text(a)) + element("span", text(b)), cls="tile") for a, b in found]
    return element("div", "".join(inside), cls="tiles")


def _few(row: dict[str, Any], name: str) -> str:
    return FEW if row.get(f"{name}_low_ms") is None else ""


def _where(row: dict[str, Any]) -> str:
    """A stage in words."""
    plain = row["name"] is None and str(row["label"]).replace(".", "").isdigit()
    return _LEVELS[row["load_type"]].format(row["label"]) if plain else str(row["label"])


def run_context(content: Content) -> str:
    """Names and values, one a line."""
    lines = "".join(
        element("tr", element("th", text(name), scope="row") + element("td", text(value)))
        for name, value in context_rows(content)
    )
    whole_table = element("table", element("tbody", lines), cls="facts")
    peak_rows = [[text(name), text(value)] for name, value in peaks(content)]
    if not peak_rows:
        return element("div", whole_table, cls="wide")
    beside = element("h3", "Resource peaks") + element("p", text(peaks_caption(content)), cls="soft")
    return element("div", whole_table, cls="wide") + beside + table(("server", "peak"), peak_rows)


def reading(content: Content) -> str:
    """What the numbers say, a sentence or two each."""
    return element("ul", "".join(element("li", inline(sentence)) for sentence in content.reading))


def sweep_table(content: Content) -> str:
    """One line per stage: load, throughput, latencies, failures, verdict."""
    header = [
        heading(points(content.summary)),
        _rate("requests_per_s", "req/s"),
        _rate("output_tokens_per_s", "out tok/s"),
    ]
    header += [f"{_metric(name)} {percent}" for name in ("ttft", "itl", "e2el") for percent in ("p50", "p95")]
    header += ["failed", "verdict"]
    rows = []
    for row in points(content.summary):
        cells = [text(row["label"]), _cell(row["requests_per_s"], per_second), _cell(row["output_tokens_per_s"], whole)]
        for name, show in (("ttft", short), ("itl", short), ("e2el", whole)):
            for percent in ("p50", "p95"):
                value = row.get(f"{name}_{percent}_ms")
                cells.append(_cell(value, show) + ("" if value is None else _few(row, f"{name}_{percent}")))
        rows.append([*cells, str(row["failed"]), _word(row["verdict"])])
    note = element("p", f"Latencies in ms. {FEW} too few samples for a 95 % interval.", cls="soft")
    return table(header, rows) + note


def percentiles(content: Content) -> str:
    """For every metric: mean and percentiles of each stage with their 95 % intervals and sample counts."""
    stages = content.summary["stages"]
    names = [name for name in BY_NAME if any(name in stage["metrics"] for stage in stages)]
    first = heading(points(content.summary))
    blocks = {name: element("div", _percentile_table(name, stages, first)) for name in names}
    shown = "".join(blocks[name] for name in _SHOWN if name in blocks)
    more = "".join(block for name, block in blocks.items() if name not in _SHOWN)
    hidden = element("summary", "More metrics") + element("div", more, cls="charts one")
    return element("div", shown, cls="charts one") + (element("details", hidden, cls="prints") if more else "")


def _percentile_table(name: str, stages: Sequence[dict[str, Any]], first: str) -> str:
    percents = sorted({key for stage in stages for key in _found(stage, name)}, key=float)
    header = [first, "samples", "mean", *(f"p{percent}" for percent in percents), "std"]
    rows = []
    for stage, label in zip(stages, labels(stages), strict=True):
        metric = stage["metrics"].get(name)
        if metric is None:
            continue
        estimates = [metric["mean_ms"], *(metric["percentiles_ms"].get(percent) for percent in percents)]
        rows.append([text(label), f"{metric['count']:,}", *map(_interval, estimates), short(metric["std_ms"])])
    title = element("h3", f"{_metric(name)} <span class='soft'>{text(BY_NAME[name].title)}, ms</span>")
    return title + table(header, rows)


def _found(stage: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = stage["metrics"].get(name, {}).get("percentiles_ms", {})
    return found


def _interval(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{short(value)}{FEW}<small>too few</small>"
    return f"{short(value)}<small>{short(low)} to {short(high)}</small>"


def limits(content: Content) -> str:
    """SLOs, thresholds and MLPerf levels with a tick or a cross, and attainment and goodput where there are SLOs."""
    asked = [*content.thresholds, *slo_rows(content.summary)]
    first = f"limit, by {heading(points(content.summary)).partition(' (')[0]}"
    blocks = [_judgements("Limits of this run", asked, first)] if asked else []
    rows = [
        [text(row["label"]), f"{100 * row['attainment']:.1f} %", _cell(row["goodput_per_s"], per_second)]
        for row in points(content.summary)
        if row["attainment"] is not None
    ]
    if rows:
        blocks.append(table((heading(points(content.summary)), "attainment", "goodput (req/s)"), rows))
    title = "MLPerf levels" + element("span", " a comparison with their limits, not a submission", cls="soft")
    levels = (content.plan.get("scenario") or {}).get("levels")
    mlperf = _judgements(title, mlperf_rows(content.summary, levels), first)
    return "".join([*blocks, mlperf])


def _judgements(title: str, rows: Sequence[Judged], first: str) -> str:
    """A line for each limit, a column for each stage."""
    stages = list(dict.fromkeys(row.stage for row in rows))
    whats = list(dict.fromkeys(row.what for row in rows))
    by_place = {(row.what, row.stage): row for row in rows}
    cells = [[text(what), *(_judged(by_place.get((what, stage))) for stage in stages)] for what in whats]
    return element("h3", title) + table((text(first), *map(text, stages)), cells)


def _judged(row: Judged | None) -> str:
    if row is None:
        return "-"
    if row.met is None:
        return element("span", "not measured", cls="none", title=row.figure)
    word, cls = ("met", "yes") if row.met else ("missed", "no")
    figures = element("small", "<br>".join(text(part) for part in row.figure.split(", ")))
    return element("span", f"{_mark(row.met)} {word}", cls=cls) + figures


def errors(content: Content) -> str:
    """Failures by stage and kind with the first detail; retries where there were some."""
    stages = content.summary["stages"]
    named = list(zip(stages, labels(stages), strict=True))
    rows = [
        [
            text(label),
            element("code", text(failure["kind"])),
            f"{failure['count']:,}",
            f"{100 * failure['count'] / max(1, stage['counts']['ok'] + stage['counts']['failed']):.1f} %",
            text(" ".join((failure["first_example"] or "-").split())[:300]),
        ]
        for stage, label in named
        for failure in stage["counts"]["failures"]
    ]
    if rows:
        shown = table(("stage", "kind", "requests", "share", "first example"), rows, cls="words")
    else:
        shown = element("p", "No request failed.")
    retried = [
        [text(label), f"{stage['attempts']['mean']:.2f}", *_shares(stage["attempts"])]
        for stage, label in named
        if stage.get("attempts")
    ]
    header = ("stage", "attempts per request", "success of first tries", "success with retries")
    return shown + (element("h3", "Retries") + table(header, retried) if retried else "")


def _shares(attempts: dict[str, Any]) -> list[str]:
    return [f"{100 * attempts[name]:.1f} %" for name in ("first_try_success_share", "success_share")]


def instrument(content: Content) -> str:
    """The figures behind the verdicts, a column for each stage, and the notes."""
    stages = content.summary["stages"]
    names = labels(stages)
    keys = [
        key
        for key in dict.fromkeys(key for stage in stages for key in stage["verdict"]["figures"])
        if any(stage["verdict"]["figures"].get(key) is not None for stage in stages)
    ]
    rows = [
        [text(_words(key)), *(_figure(stage["verdict"]["figures"].get(key), key) for stage in stages)] for key in keys
    ]
    head = [f"{text(name)}<br>{_word(stage['verdict']['verdict'])}" for name, stage in zip(names, stages, strict=True)]
    figures = element("details", element("summary", "Figures behind the verdicts") + table(("figure", *head), rows))
    return (_findings(content.summary, notes=True) or element("p", "There is nothing to remark.")) + figures


def all_definitions() -> str:
    """The page of definitions, opened by a click on any metric."""
    inside = element("summary", "Show all definitions") + markdown(definitions.page())
    return element("details", inside, cls="prints")


def _findings(summary: dict[str, Any], *, notes: bool) -> str:
    """A list of the notes, or of all that is more; what is the same for several stages is said once."""
    stages, kind = summary["stages"], heading(points(summary)).partition(" (")[0]
    where: dict[str, list[str]] = {}
    for stage, label in zip(stages, labels(stages), strict=True):
        for finding in stage["verdict"]["findings"]:
            if (finding["severity"] == "note") == notes:
                where.setdefault(_finding(finding), []).append(label)
    items = [
        element("li", told if len(stages) == 1 else element("b", text(f"{kind} {', '.join(named)}: ")) + told)
        for told, named in where.items()
    ]
    return element("ul", "".join(items)) if items else ""


def _finding(finding: dict[str, Any]) -> str:
    share = finding["unit"] == "share"
    shown = _figure(finding["figure"], "_share" if share else "")
    unit = "" if share or not finding["unit"] else f" {text(finding['unit'])}"
    against = f" (limit {_figure(finding['limit'], '_share' if share else '')}{unit})" if finding["limit"] else ""
    told = f"{text(finding['name'])} {shown}{unit}{against}, spoils {text(finding['spoils'])}"
    return f"{told}: {text(finding['advice'])}"


def _figure(value: float | None, key: str) -> str:
    if value is None:
        return "-"
    if key.endswith(("share", "share_max", "share_mean", "of_asked", "of_scheduled_rate")):
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.4g}"


def _words(key: str) -> str:
    """``loop_lag_p99_ms`` as ``loop lag p99 (ms)``."""
    for ending, unit in (("_per_s", "(per s)"), ("_ms", "(ms)")):
        if key.endswith(ending):
            return f"{key.removesuffix(ending).replace('_', ' ')} {unit}"
    return key.replace("_", " ")


def _metric(name: str) -> str:
    """The label of a metric, one click from its definition."""
    return element("a", text(BY_NAME[name].label), href=f"#def-{name}", title=BY_NAME[name].definition)


def _rate(name: str, label: str) -> str:
    definition = next(rate.definition for rate in RATES if rate.name == name)
    return element("a", text(label), href=f"#def-{name}", title=definition)


def _cell(value: float | None, show: Any) -> str:
    return "-" if value is None else text(show(value))


def _word(word: str) -> str:
    return element("span", word, cls=f"chip tone-{word.lower()}")


def _mark(good: bool) -> str:
    """A tick or a cross; the word beside it says the same."""
    return element("span", "✓" if good else "✗", aria_hidden="true")
