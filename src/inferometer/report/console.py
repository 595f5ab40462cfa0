"""The result of a run for a terminal, in the layout of ``vllm bench serve``: readers of that layout can read this one.

Labels are padded to 40 columns, values to 10, rules are 50 wide. Our own lines stand in sections of their own; the
verdict stands above the numbers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from inferometer.analysis.diagnosis import Finding
from inferometer.analysis.rounds import view
from inferometer.analysis.thresholds import Judged
from inferometer.report import reading, repeated
from inferometer.report.comparison import ticks
from inferometer.report.groups import tables
from inferometer.report.tables import FEW, by_model, level, one_line, sweep

WIDTH = 50
#: name: (title of the section, label in its lines)
SECTIONS = {
    "ttft": ("Time to First Token", "TTFT"),
    "tpot": ("Time per Output Token (excl. 1st token)", "TPOT"),
    "itl": ("Inter-token Latency", "ITL"),
    "event_gap": ("Gap between Token Events", "event gap"),
    "e2el": ("End-to-end Latency", "E2EL"),
    "ntpot": ("Normalised Time per Output Token", "NTPOT"),
    "ttft_from_send": ("Time to First Token from Send", "TTFT from send"),
    "e2el_from_send": ("End-to-end Latency from Send", "E2EL from send"),
    "ntpot_from_send": ("Normalised Time per Token from Send", "NTPOT from send"),
    "connect": ("Connection Time", "connect"),
    "ttfb": ("Time to First Byte", "TTFB"),
}
#: Engines whose names of metrics are known, as they write themselves.
ENGINES = {"vllm": "vLLM", "sglang": "SGLang", "tgi": "TGI", "llamacpp": "llama.cpp", "litellm": "LiteLLM"}
_COLOURS = {"VALID": "\x1b[1;32m", "CLIENT-LIMITED": "\x1b[1;33m", "INVALID": "\x1b[1;31m"}
_RESET = "\x1b[0m"
_EXAMPLE_CHARACTERS = 200
_NOTE_WIDTH = 100
_STATES = {
    "running": "The run did not end: it was killed, or it is still going on. These are the rows that reached the disk.",
    "interrupted": "The run was interrupted: later requests and stages were not sent.",
}


def render(summary: dict[str, Any], colour: bool = False, *, unicode: bool = True) -> str:
    """Every stage of ``analysis.summary.summarise``, repeats of one together, then the sweep if there are several.

    Args:
        summary: as made by ``summarise`` or read from ``summary.json``.
        colour: colour the verdicts with ANSI sequences; the caller knows whether there is a terminal and minds
        NO_COLOR.
        unicode: ticks and crosses of thresholds as such; the caller knows what the stream can write.
    """
    stages = view(summary)["stages"]
    if not stages:
        return "No stage was begun: there is nothing to show.\n"
    blocks = [stage_result(stage, summary["report"], colour=colour, engine=summary.get("engine")) for stage in stages]
    if len(summary["stages"]) > 1:
        titled = [f"{_heading(stage)}\n{block}" for stage, block in zip(stages, blocks, strict=True)]
        blocks = [*titled, sweep(summary), *filter(None, [repeated.table(summary)])]
    if judged := summary.get("thresholds"):
        blocks.append(_thresholds(judged, unicode=unicode))
    if findings := summary.get("reading"):
        blocks.append(reading.plain(msgspec.convert(findings, list[Finding])))
    if prompts := summary.get("prompts"):
        blocks.append(f"Prompts: {prompts['note']}.")
    if (state := summary.get("state")) in _STATES:
        blocks.append(_STATES[state])
    return "\n\n".join(blocks) + "\n"


def _thresholds(judged: list[dict[str, Any]], *, unicode: bool) -> str:
    """A tick or a cross for each threshold at each stage."""
    missed = sum(not one["met"] for one in judged)
    count = f"{missed} of {len(judged)} missed" if missed else "all met"
    return f"Thresholds: {count}.\n{ticks(msgspec.convert(judged, list[Judged]), unicode=unicode)}"


def stage_result(
    stage: dict[str, Any], report: dict[str, Any], *, colour: bool = False, engine: str | None = None
) -> str:
    """One stage. ``report`` holds ``percentile_metrics`` and ``percentiles`` (as text: "99", "99.9").

    ``engine`` is what the server says it is.
    """
    lines = [
        _rule("Serving Benchmark Result", "="),
        *_verdict(stage["verdict"], colour=colour),
        *_totals(stage),
        *_latencies(stage["metrics"], report),
        *_steady(stage),
        *_lengths(stage["lengths"]),
        *_client(stage["verdict"]["figures"]),
        *_server(stage.get("server"), engine),
        *_failures(stage["counts"]["failures"]),
        *_attempts(stage.get("attempts")),
        *_models(stage.get("models", [])),
        *(line for title, table in tables(stage) for line in (_rule(title), *table)),
        *_notes(stage["verdict"]),
        _rule("", "="),
    ]
    if any(FEW in line for line in lines):
        lines.append(f"{FEW} too few samples for a 95 % interval")
    return "\n".join(lines)


def _rule(title: str, fill: str = "-") -> str:
    return f"{f' {title} ' if title and fill == '=' else title:{fill}^{WIDTH}}"


def _line(label: str, value: str) -> str:
    return f"{label:<40} {value:<10}"


def _count(label: str, value: float | None) -> list[str]:
    return [] if value is None else [_line(label, f"{value:.0f}")]


def _number(label: str, value: float | None) -> list[str]:
    return [] if value is None else [_line(label, f"{round(value, 2) + 0.0:.2f}")]  # no -0.00


def _verdict(verdict: dict[str, Any], *, colour: bool) -> Iterator[str]:
    word = verdict["verdict"]
    line = _line("Verdict:", word)
    yield line.replace(word, f"{_COLOURS[word]}{word}{_RESET}") if colour else line
    for finding in verdict["findings"]:
        if finding["severity"] != "note":
            yield _finding(finding)


def _finding(finding: dict[str, Any]) -> str:
    """A sentence, wrapped so that it stays beside the table."""
    against = "" if not finding["limit"] else f" (limit {_figure(finding['limit'], finding['unit'])})"
    figure = _figure(finding["figure"], finding["unit"])
    sentence = f"{finding['name']} {figure}{against}, spoils {finding['spoils']}: {finding['advice']}"
    return textwrap.fill(sentence, _NOTE_WIDTH, initial_indent="  ", subsequent_indent="    ")


def _figure(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.1f} %"
    digits = f"{value:.0f}" if value == round(value) else f"{value:.2f}"
    return f"{digits} {unit}".rstrip()


def _totals(stage: dict[str, Any]) -> list[str]:
    """The first block, line by line as vLLM prints it."""
    counts, load, lengths = stage["counts"], stage["load"], stage["lengths"]
    rates, slos = stage["throughput"] or {}, stage["slos"] or {}
    rate = load.get("rate_per_s")
    return [
        *_count("Successful requests:", counts["ok"]),
        *_count("Failed requests:", counts["failed"]),
        *_count("Maximum request concurrency:", load.get("concurrency") or load.get("max_in_flight")),
        *_number("Request rate configured (RPS):", None if isinstance(rate, str) else rate),
        *_number("Benchmark duration (s):", stage["window"] and stage["window"]["length_s"]),
        *_count("Total input tokens:", lengths["prompt_tokens"]["got_total_tokens"]),
        *_count("Total generated tokens:", lengths["output_tokens"]["got_total_tokens"]),
        *_number("Request throughput (req/s):", rates.get("requests_per_s")),
        *_number("Request goodput (req/s):", slos.get("goodput_per_s")),
        *_number("Output token throughput (tok/s):", rates.get("output_tokens_per_s")),
        *_number("Peak output token throughput (tok/s):", rates.get("peak_output_tokens_per_s")),
        *_number("Peak concurrent requests:", rates.get("peak_in_flight")),
        *_number("Total token throughput (tok/s):", rates.get("total_tokens_per_s")),
    ]


def _latencies(metrics: dict[str, Any], report: dict[str, Any]) -> Iterator[str]:
    """A section for each metric that was asked for, each followed by its latency from the real send, if it has one.

    Before them is what each request spent on its connection, and what is known of answers that were not streamed.
    """
    ahead = ("connect",) if "ttft" in metrics else ("connect", "ttfb")
    asked = dict.fromkeys((*ahead, *report["percentile_metrics"]))
    for name in (shown for metric in asked for shown in (metric, f"{metric}_from_send")):
        if name in metrics and name in SECTIONS:
            yield from _latency(metrics[name], *SECTIONS[name], report["percentiles"])


def _latency(metric: dict[str, Any], title: str, label: str, percents: list[str]) -> Iterator[str]:
    yield _rule(title)
    yield from _number(f"Mean {label} (ms):", metric["mean_ms"]["value"])
    yield _estimate(f"Median {label} (ms):", metric["median_ms"])
    for percent in percents:
        yield _estimate(f"P{percent} {label} (ms):", metric["percentiles_ms"][percent])


def _estimate(label: str, estimate: dict[str, Any]) -> str:
    return _line(label, f"{estimate['value']:.2f}" + (f" {FEW}" if estimate["low"] is None else ""))


def _steady(stage: dict[str, Any]) -> list[str]:
    window, rates = stage["steady_window"], stage["steady_throughput"]
    if window is None:
        return []
    return [
        _rule("Steady State"),
        *_number("Steady-state duration (s):", window["length_s"]),
        *_number("Steady-state requests (req/s):", rates["requests_per_s"]),
        *_number("Steady-state output (tok/s):", rates["output_tokens_per_s"]),
        *_number("Steady-state requests in flight, mean:", rates["mean_in_flight"]),
    ]


def _lengths(lengths: dict[str, Any]) -> Iterator[str]:
    yield _rule("Lengths")
    for side, name in (("prompt_tokens", "prompt"), ("output_tokens", "output")):
        length = lengths[side]
        yield from _number(f"Mean {name} tokens asked:", length["asked_mean_tokens"])
        yield from _number(f"Mean {name} tokens got:", length["got_mean_tokens"])
        for source, count in length["sources"].items():
            if source != "usage":
                yield from _count(f"Requests with {name} tokens by {source}:", count)


def _client(figures: dict[str, Any]) -> list[str]:
    """What the instrument did while it measured; each repeat of a stage has figures of its own."""
    if not figures:
        return []
    percent = {name: _percent(figures.get(name)) for name in figures}
    return [
        _rule("Instrument"),
        *_number("Schedule lag p99 (ms):", figures.get("schedule_lag_p99_ms")),
        *_number("Sent / scheduled rate (%):", percent.get("sent_of_scheduled_rate")),
        *_number("In flight / concurrency (%):", percent.get("in_flight_of_asked")),
        *_number("Kernel-stamped requests (%):", percent.get("kernel_stamps_share")),
        *_number("Reads that carry several events (%):", percent.get("merged_reads_share")),
        *_number("Event loop lag p99 (ms):", figures.get("loop_lag_p99_ms")),
        *_number("CPU of the busiest worker (%):", percent.get("client_cpu_share_max")),
        *_number("Ready but waiting for a core (%):", percent.get("core_wait_share")),
        *_number("Load / calibrated load (%):", percent.get("calibrated_load_share")),
        *_number("Time stolen by the host (%):", percent.get("steal_share")),
    ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _server(server: dict[str, Any] | None, itself: str | None) -> Iterator[str]:
    """What the server said of the same time; ``itself`` is what it says it is."""
    if server is None:
        return
    yield _rule(_server_title(server["compared_with"], itself))
    engine = server["engines"].get(server["compared_with"], {})
    yield from _number("Requests running, peak:", server["running_peak"])
    yield from _number("Requests waiting, peak:", server["waiting_peak"])
    yield from _number("Mean time in the queue (ms):", engine.get("histograms", {}).get("queue_s", {}).get("mean_ms"))
    yield from _number("KV cache used, peak (%):", _percent(server["kv_cache_usage_peak"]))
    yield from _number("Prefix cache hit rate (%):", _percent(engine.get("prefix_cache_hit_rate")))
    yield from _number("Pre-emptions:", server["preemptions"])
    yield from _number("GPU utilisation, peak (%):", _percent(server["gpu_utilisation_peak"]))
    for name, pair in server["compared"].items():
        if "server_mean_ms" in pair:
            yield from _number(f"Mean {name.upper()}, server (ms):", pair["server_mean_ms"])
            yield from _number(f"Mean {name.upper()}, client - server (ms):", pair["difference_ms"])
        else:
            yield from _count(f"{name.replace('_', ' ').capitalize()}, server:", pair["server"])
            yield from _count(f"{name.replace('_', ' ').capitalize()}, client - server:", pair["difference"])
    for note in server["notes"]:
        yield textwrap.fill(note, _NOTE_WIDTH, initial_indent="  ", subsequent_indent="    ")


def _server_title(speaks: str | None, itself: str | None) -> str:
    """The names of metrics say whose they are, not who uses them: others than vLLM speak vLLM's."""
    if itself is not None:
        return f"Server: {itself}"
    return "Server" if speaks is None else f"Server ({ENGINES[speaks]} metrics)"


def _failures(failures: list[dict[str, Any]]) -> Iterator[str]:
    if failures:
        yield _rule("Failures")
    for failure in failures:
        yield from _count(f"{failure['kind']}:", failure["count"])
        if failure["first_example"]:
            yield "  first: " + one_line(failure["first_example"])[:_EXAMPLE_CHARACTERS]


def _attempts(attempts: dict[str, Any] | None) -> list[str]:
    """What retries hid."""
    if attempts is None:
        return []
    return [
        _rule("Retries"),
        *_number("Attempts per request, mean:", attempts["mean"]),
        *_count("Attempts per request, max:", attempts["max"]),
        *_number("Success rate of first tries (%):", 100 * attempts["first_try_success_share"]),
        *_number("Success rate with retries (%):", 100 * attempts["success_share"]),
        *(line for failure in attempts["failures"] for line in _count(f"{failure['kind']}:", failure["count"])),
    ]


def _models(models: list[dict[str, Any]]) -> list[str]:
    return [_rule("Models"), *by_model(models).splitlines()] if models else []


def _notes(verdict: dict[str, Any]) -> list[str]:
    notes = [_finding(finding) for finding in verdict["findings"] if finding["severity"] == "note"]
    return [_rule("Notes"), *notes] if notes else []


def _heading(stage: dict[str, Any]) -> str:
    """One line that names a stage by its load, and its repeats if it has some."""
    if stage.get("repeats"):
        return repeated.heading(stage)
    kind = {"closed": "concurrency", "users": "users"}.get(stage["load"]["type"], "request rate")
    name = f" ({stage['name']})" if stage.get("name") else ""
    return f"Stage {stage['stage'] + 1}{name}: {kind} {level(stage['load'])}"
