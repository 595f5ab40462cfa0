"""The instrument judges itself: a verdict for each stage, with the figures behind it and what to do about it.

A check is a function from evidence to a finding or None; adding one is adding it to ``CHECKS``, or a row to
``limits``. Limits are relative to the metric that would be spoiled. Notes never change the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from inferometer.analysis.figures import Figures, figures
from inferometer.analysis.frame import Frame
from inferometer.analysis.limits import LIMITS, Severity
from inferometer.analysis.stats import needed_count
from inferometer.config.models import OpenLoop, Stage
from inferometer.records.record import WorkerStage

VERDICTS: dict[Severity, str] = {"note": "VALID", "client-limited": "CLIENT-LIMITED", "invalid": "INVALID"}

#: An error of the client may be this share of the median of the metric it spoils, and is never looked for below the
#: floor.
ERROR_SHARE = 0.05
FLOOR_MS = 1.0
#: Load delivered / load asked.
DELIVERED = 0.95
CAP_SHARE = 0.01
MERGED_SHARE = 0.05
CPU_SHARE = 0.9
#: The longest time in which the loop did nothing: as a share of the stage, and never looked for below this.
STANDSTILL_SHARE = 0.05
STANDSTILL_MS = 250.0
LENGTH_ERROR = 0.05
CACHED_SHARE = 0.05
DRIFT = 1.5
FAILED_SHARE = 0.5


class Finding(msgspec.Struct, frozen=True):
    """One thing that was seen: ``figure`` against ``limit`` in ``unit``, the metrics it spoils, and what to do."""

    name: str
    severity: Severity
    figure: float | None
    limit: float | None
    unit: str
    spoils: str
    advice: str


class Verdict(msgspec.Struct, frozen=True):
    """``verdict`` is VALID, CLIENT-LIMITED or INVALID; findings come worst first."""

    verdict: str
    findings: tuple[Finding, ...]
    figures: Figures


class Evidence(msgspec.Struct, frozen=True):
    """What a check may look at. ``percents`` are the percentiles (0 to 100) that will be shown."""

    figures: Figures
    stage: Stage
    percents: tuple[float, ...]

    def figure(self, name: str) -> float:
        """A figure, 0 where it does not apply or was not measured."""
        return self.figures.get(name) or 0.0

    def tolerated_ms(self, metric: str) -> float:
        """The error that a metric bears: 5 % of its median, 1 ms at least."""
        return max(FLOOR_MS, ERROR_SHARE * self.figure(f"{metric}_p50_ms"))

    @property
    def userland(self) -> bool:
        """Some answers were stamped by this process, so what delays it makes their times late."""
        share = self.figures.get("kernel_stamps_share")
        return share is not None and share < 1


def judge(
    frame: Frame,
    workers: Sequence[WorkerStage],
    stage: Stage,
    percents: tuple[float, ...] = (50.0, 95.0, 99.0),
    known: Mapping[str, float | None] | None = None,
) -> Verdict:
    """The verdict on one stage, from its measured requests and the reports of its workers.

    Args:
        frame: measured requests of the stage.
        workers: one row per worker process; none if the run was killed.
        stage: what was asked.
        percents: percentiles that will be shown, 0 to 100.
        known: figures that these do not tell: how many workers are missing, the load against the calibration.
    """
    seen = figures(frame, workers, stage.load) | dict(known or {})
    evidence = Evidence(seen, stage, percents)
    nothing = _nothing_succeeded(evidence)
    if nothing is not None:
        return Verdict(VERDICTS[nothing.severity], (nothing,), evidence.figures)
    found = [finding for check in CHECKS if (finding := check(evidence)) is not None]
    found += _above_limits(evidence)
    ranks = list(VERDICTS)
    worst_first = tuple(sorted(found, key=lambda finding: -ranks.index(finding.severity)))
    worst: Severity = worst_first[0].severity if worst_first else "note"
    return Verdict(VERDICTS[worst], worst_first, evidence.figures)


def _nothing_succeeded(e: Evidence) -> Finding | None:
    if e.figure("ok"):
        return None
    advice = "no request succeeded: see the failures, and try `inferometer check`"
    return Finding("successful requests", "invalid", 0.0, 1.0, "", "everything", advice)


def _too_few(e: Evidence) -> Finding | None:
    needed = needed_count(50) or 0
    if not 0 < e.figure("ok") < needed:
        return None
    advice = "not even a median has an interval: send more requests"
    return Finding("successful requests", "invalid", e.figure("ok"), needed, "", "every percentile", advice)


def _failures(e: Evidence) -> Finding | None:
    """Some failures are a fact about the server; with more failures than answers there is no load worth a latency."""
    share = e.figure("failed_share")
    if not share or not e.figure("ok"):
        return None
    severity: Severity = "invalid" if share > FAILED_SHARE else "note"
    advice = "failures have no latency, so those shown are the survivors': see the failures"
    return Finding("failed requests", severity, share, FAILED_SHARE, "share", "every latency", advice)


def _percentiles_without_interval(e: Evidence) -> Finding | None:
    """Too few for some percentiles that are shown."""
    needs = {percent: needed_count(percent) or 0 for percent in e.percents}
    short = [percent for percent, needed in needs.items() if e.figure("ok") < needed]
    if not short or not e.figure("ok"):
        return None
    names = ", ".join(f"p{percent:g}" for percent in sorted(short))
    advice = f"too few samples for an interval of {names}: send more requests or read lower percentiles"
    return Finding("samples", "note", e.figure("ok"), max(needs.values()), "", names, advice)


def _clock_steps(e: Evidence) -> Finding | None:
    if not e.figure("clock_steps"):
        return None
    wrong: Severity = "invalid" if e.figure("kernel_stamps_share") else "note"
    advice = "the system clock was set during the stage, and kernel stamps follow it: repeat the stage"
    return Finding("clock steps", wrong, e.figure("clock_steps"), 0.0, "", "every latency", advice)


def _mixed_clocks(e: Evidence) -> Finding | None:
    share = e.figure("kernel_stamps_share")
    if not 0 < share < 1:
        return None
    advice = "kernel and userland stamps differ in error: ask for one kind with --stamps"
    return Finding("kernel stamps", "note", share, 1.0, "share", "comparisons between requests", advice)


def _schedule_lag(e: Evidence) -> Finding | None:
    """Late sends; waiting for a free slot below a cap is ``_cap``'s."""
    limit = e.tolerated_ms("ttft")
    if e.figure("schedule_lag_p99_ms") <= limit or _cap(e) is not None:
        return None
    advice = "the client sent too late: use more workers, or a machine with free cores, or a lower rate"
    return Finding(
        "schedule lag p99", "client-limited", e.figure("schedule_lag_p99_ms"), limit, "ms", "ttft, e2el", advice
    )


def _rate(e: Evidence) -> Finding | None:
    ratio = e.figures.get("sent_of_scheduled_rate")
    if ratio is None or ratio >= DELIVERED:
        return None
    advice = "the asked rate was never reached: this is not a point on a curve; use more workers or a lower rate"
    return Finding("sent / scheduled rate", "client-limited", ratio, DELIVERED, "share", "every metric", advice)


def _concurrency(e: Evidence) -> Finding | None:
    ratio = e.figures.get("in_flight_of_asked")
    if ratio is None or ratio >= DELIVERED:
        return None
    if e.figure("connect_failures"):
        advice = "connections failed, and the client waits 0.1 s before it tries the next one: see the failures"
        return Finding("in flight / concurrency", "note", ratio, DELIVERED, "share", "throughput", advice)
    advice = "the client took too long between two requests to keep the asked number in flight: use more workers"
    return Finding("in flight / concurrency", "client-limited", ratio, DELIVERED, "share", "throughput", advice)


def _cap(e: Evidence) -> Finding | None:
    limit = CAP_SHARE * e.figure("requests")
    if not e.figure("cap_hits"):
        return None
    severity: Severity = "client-limited" if e.figure("cap_hits") > limit else "note"
    advice = "requests waited for a free slot, so arrivals followed the server: raise max_in_flight, or close the loop"
    return Finding("in-flight cap hits", severity, e.figure("cap_hits"), limit, "", "arrivals, ttft, e2el", advice)


def _standstill(e: Evidence) -> Finding | None:
    """The whole client stood still: a laptop that slept, a stopped process. Stamps survive that, rates do not."""
    if e.figure("standstill_share") <= STANDSTILL_SHARE or e.figure("loop_lag_max_ms") <= STANDSTILL_MS:
        return None
    advice = "the client stood still meanwhile (asleep, stopped or starved), and nothing was sent: run it again"
    return Finding(
        "longest standstill",
        "client-limited",
        e.figure("standstill_share"),
        STANDSTILL_SHARE,
        "share",
        "throughput",
        advice,
    )


def _loop_lag(e: Evidence) -> Finding | None:
    return _reading_lag(e, "loop_lag_p99_ms", "event loop lag p99")


def _read_lag(e: Evidence) -> Finding | None:
    return _reading_lag(e, "read_lag_p99_ms", "read lag p99")


def _reading_lag(e: Evidence, figure: str, name: str) -> Finding | None:
    """Late reads spoil userland stamps only: the kernel's are already made."""
    limit = e.tolerated_ms("ttft")
    if e.figure(figure) <= limit:
        return None
    if e.userland:
        advice = "the client read too late, and stamps when it reads: use kernel stamps, more workers or a lower load"
        return Finding(name, "client-limited", e.figure(figure), limit, "ms", "ttft, itl", advice)
    advice = "reads were late, but the kernel had stamped the bytes already; more workers would help the tail"
    return Finding(name, "note", e.figure(figure), limit, "ms", "nothing directly", advice)


def _merged_reads(e: Evidence) -> Finding | None:
    """Events that share a read share a stamp. Ours to blame only if we read later than the next token came."""
    share = e.figure("merged_reads_share")
    if share <= MERGED_SHARE:
        return None
    own_lag_ms = e.figure("loop_lag_p99_ms") if e.userland else e.figure("read_lag_p50_ms")
    if own_lag_ms > e.figure("tpot_p50_ms"):
        advice = "the client read so late that several tokens had come: use more workers or fewer streams"
        return Finding("merged reads", "client-limited", share, MERGED_SHARE, "share", "itl, event_gap", advice)
    advice = "the server or the network sends several events at once: single gaps are theirs, not token times"
    return Finding("merged reads", "note", share, MERGED_SHARE, "share", "itl, event_gap", advice)


def _client_cpu(e: Evidence) -> Finding | None:
    if e.figure("client_cpu_share_max") <= CPU_SHARE:
        return None
    severity: Severity = "client-limited" if e.userland else "note"
    advice = "a worker used nearly all of its core: use more workers"
    return Finding("client CPU", severity, e.figure("client_cpu_share_max"), CPU_SHARE, "share", "ttft, itl", advice)


def _lengths(e: Evidence) -> Finding | None:
    sides = {side: e.figure(f"{side}_length_error") for side in ("output", "prompt")}
    side = max(sides, key=lambda name: sides[name])
    if sides[side] <= LENGTH_ERROR:
        return None
    advice = {
        "output": "answers are not as long as asked: try --ignore-eos, or compare TPOT and TTFT only",
        "prompt": "prompts are not as long as asked: give --tokenizer, or mind the chat template",
    }[side]
    return Finding(f"{side} length error", "note", sides[side], LENGTH_ERROR, "share", "e2el, throughput", advice)


def _models(e: Evidence) -> Finding | None:
    if not e.figure("other_model_share"):
        return None
    severity: Severity = "invalid" if e.figure("models_answering") > 1 else "note"
    advice = "another model answered than was asked for: an alias, or a router that went astray; see /v1/models"
    return Finding(
        "answers of another model", severity, e.figure("other_model_share"), 0.0, "share", "everything", advice
    )


def _cached(e: Evidence) -> Finding | None:
    if e.figure("cached_prompt_share") <= CACHED_SHARE:
        return None
    advice = "the server knew part of these prompts: unless that is meant, restart it or change --seed"
    return Finding(
        "cached prompt tokens", "note", e.figure("cached_prompt_share"), CACHED_SHARE, "share", "ttft", advice
    )


def _drift(e: Evidence) -> Finding | None:
    ratio = e.figure("late_over_early_e2el")
    load = e.stage.load
    # under a rate that changes, latency may well do so too
    if not isinstance(load, OpenLoop) or not isinstance(load.rate, float) or ratio <= DRIFT:
        return None
    advice = "latency was still rising at the end: the server cannot hold this rate, and longer runs are worse"
    return Finding("late / early e2el", "note", ratio, DRIFT, "ratio", "every latency", advice)


def _no_reports(e: Evidence) -> Finding | None:
    if e.figure("workers_reporting"):
        return None
    advice = "no worker finished the stage, so client CPU and loop lag are unknown: the run was cut short"
    return Finding("workers reporting", "note", 0.0, 1.0, "", "the verdict", advice)


def _above_limits(e: Evidence) -> list[Finding]:
    above = [(row, e.figure(key)) for key, row in LIMITS.items() if e.figure(key) > row.limit]
    return [
        Finding(row.name, row.severity, figure, row.limit, row.unit, row.spoils, row.advice) for row, figure in above
    ]


CHECKS: tuple[Callable[[Evidence], Finding | None], ...] = (
    _too_few,
    _failures,
    _clock_steps,
    _models,
    _schedule_lag,
    _rate,
    _concurrency,
    _cap,
    _standstill,
    _loop_lag,
    _read_lag,
    _merged_reads,
    _client_cpu,
    _percentiles_without_interval,
    _mixed_clocks,
    _lengths,
    _cached,
    _drift,
    _no_reports,
)
