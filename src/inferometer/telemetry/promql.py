"""A Prometheus that scrapes the server: asked once, when the run is over, for the samples that it has of it.

Raw samples are asked for (a range selector in an instant query), not rates or averages: they carry the times at which
the server was scraped, so counters and histograms are compared over a stage as those of our own samples are.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from inferometer.config.models import Target, Timeouts
from inferometer.config.telemetry import PrometheusServer
from inferometer.errors import UserError
from inferometer.records.telemetry import Reading
from inferometer.telemetry import ask
from inferometer.telemetry.prometheus import Sample
from inferometer.telemetry.vocabulary import NAMES, readings

#: Replicas whose figures come by way of a Prometheus are named so.
REPLICA_PREFIX = "prometheus:"
#: One question covers this long: a Prometheus limits the samples of an answer.
CHUNK_S = 600
#: Samples this long before the run are asked for, too: a counter's value at its begin may be that old.
BEFORE_S = 60
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Span(NamedTuple):
    """From one moment to another, in s of the Unix clock of this machine."""

    start_s: float
    end_s: float


class Scrape(NamedTuple):
    """What samples of one moment have in common: labels of the server, "" where it has none, and the Unix time in s."""

    pod: str
    instance: str
    stamp_s: float


Found = dict[Scrape, list[Sample]]


class History(NamedTuple):
    """Readings with times in ns of the Unix clock of this machine, and what a user should know."""

    readings: list[Reading]
    notes: list[str]


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct):
    result: Any = None


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


def selector(labels: Mapping[str, str], names: frozenset[str] = NAMES) -> str:
    """A PromQL selector of all these names with these labels. Raises ``UserError`` for what is no label name."""
    matchers = ['__name__=~"' + "|".join(sorted(names)) + '"']
    for label, value in labels.items():
        if not _LABEL.fullmatch(label):
            raise UserError(f"{label!r} is no label of a Prometheus: selectors are written NAME=VALUE")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        matchers.append(f'{label}="{escaped}"')
    return "{" + ",".join(matchers) + "}"


def history(server: PrometheusServer, span: Span, wait: Callable[[float], None] = time.sleep) -> History:
    """What a Prometheus saw during a span.

    Waits up to ``server.settle_s`` for samples behind its end: without them the last requests would be missing.

    Args:
        server: where, which series, with which token.
        span: the run.
        wait: sleeps for so many seconds.

    Raises:
        UserError: it cannot be asked, or refuses; the sentence says why.
    """
    reach = _reach(server)
    series = selector(server.selectors)
    ahead_s = _ahead_s(reach)
    notes = []
    if abs(ahead_s) > 0.5:
        notes.append(f"the clock of the Prometheus is {ahead_s:+.1f} s off ours; its times were corrected by that")
    found: Found = {}
    deadline_s = time.monotonic() + server.settle_s
    for chunk in _chunks(span):
        _add(found, reach, series, Span(chunk.start_s + ahead_s, chunk.end_s + ahead_s))
    run = Span(span.start_s + ahead_s, span.end_s + ahead_s)
    while not _covers(found, run) and time.monotonic() < deadline_s:
        wait(1.0)
        _add(found, reach, series, Span(span.end_s + ahead_s, time.time() + ahead_s))
    if not found:
        notes.append(f"the Prometheus at {ask.shown(server.url)} has no series of {_named(server)} in that time")
    elif not _covers(found, run):
        notes.append(
            "the Prometheus has no sample behind the end of the run of some replica: it is gone, or scraped more seldom"
            " than settle_s"
        )
    names = _names(found)
    rows = [
        reading
        for scrape in sorted(found, key=lambda one: one.stamp_s)
        for reading in readings(found[scrape], round((scrape.stamp_s - ahead_s) * 1e9), names[scrape[:2]])
    ]
    return History(rows, notes)


def _names(found: Found) -> dict[tuple[str, str], str]:
    """What replicas are called: by pod, else by instance; by both where one pod tells the same figure at several."""
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scrape, samples in found.items():
        for sample in samples:
            told[scrape.pod, sample.name].add(scrape.instance)
    several = {pod for (pod, _), instances in told.items() if len(instances) > 1}
    servers = {scrape[:2] for scrape in found}
    return {
        (pod, instance): REPLICA_PREFIX + (f"{pod} {instance}".strip() if pod in several else pod or instance)
        for pod, instance in servers
    }


def _named(server: PrometheusServer) -> str:
    labels = ", ".join(f"{label}={value}" for label, value in server.selectors.items())
    return f"a known engine with {labels}" if labels else "a known engine"


def _reach(server: PrometheusServer) -> Target:
    limits = Timeouts(connect_s=server.timeout_s, first_token_s=server.timeout_s, total_s=server.timeout_s)
    return Target(
        base_url=server.url,
        api_key_env=server.bearer_env or "",
        api_key_file=server.bearer_file,
        verify_tls=server.verify_tls,
        ca_file=server.ca_file,
        timeouts=limits,
    )


def _chunks(span: Span) -> Iterator[Span]:
    start_s = span.start_s - BEFORE_S
    while start_s < span.end_s:
        yield Span(start_s, min(start_s + CHUNK_S, span.end_s))
        start_s += CHUNK_S


def _covers(found: Found, run: Span) -> bool:
    """Does every replica that was seen during the run have a sample behind its end? Others were gone before it."""
    latest: dict[tuple[str, str], float] = {}
    for pod, instance, stamp_s in found:
        latest[pod, instance] = max(stamp_s, latest.get((pod, instance), -math.inf))
    present = [stamp_s for stamp_s in latest.values() if stamp_s >= run.start_s]
    return bool(present) and min(present) >= run.end_s


def _add(found: Found, reach: Target, series: str, span: Span) -> None:
    """Ask for the samples of a span (its start is not part of it), by replica and time; some may be known already."""
    length_ms = max(1, math.ceil((span.end_s - span.start_s) * 1000))
    content = _ask(reach, {"query": f"{series}[{length_ms}ms]", "time": f"{span.end_s:.3f}"})
    new: Found = defaultdict(list)
    for one in _converted(reach, content):
        labels = dict(one.metric)
        name = labels.pop("__name__", "")
        server = labels.get("pod", ""), labels.get("instance", "")
        for stamp_s, text in one.values:
            value = _float(text)
            if not math.isnan(value):
                new[Scrape(*server, stamp_s)].append(Sample(name, labels, value))
    found.update(new)


def _float(text: str) -> float:
    try:
        return float(text)  # NaN, +Inf and the marker of a series that ended, which is NaN, too
    except ValueError:
        return math.nan


def _converted(reach: Target, result: Any) -> list[_Series]:
    try:
        return msgspec.convert(result, list[_Series], strict=False)
    except msgspec.ValidationError as error:
        raise UserError(f"{ask.shown(reach.base_url)} answers, but not as a Prometheus does ({error})") from None


def _ahead_s(reach: Target) -> float:
    """By how much the clock of the Prometheus is ahead of ours."""
    before_s = time.time()
    content = _ask(reach, {"query": "time()"})
    middle_s = (before_s + time.time()) / 2
    try:
        now_s = float(content[1])
    except (TypeError, ValueError, LookupError):
        now_s = math.nan
    if not math.isfinite(now_s):
        raise UserError(f"{ask.shown(reach.base_url)} answers, but not as a Prometheus does")
    return now_s - middle_s


def _ask(reach: Target, words: dict[str, str]) -> Any:
    """The result of an instant query, posted as a form: a selector of all names is too long for some URLs.

    Raises:
        UserError: no answer, or not a good one.
    """
    import httpx

    from inferometer.client import tls

    where = reach.base_url.rstrip("/") + "/api/v1/query"
    verify = tls.context(reach) if where.startswith("https://") else False
    try:
        with httpx.Client(verify=verify, timeout=reach.timeouts.total_s, trust_env=False) as client:
            reply = client.post(where, data=words, headers=ask.headers(reach))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = ask.plain(str(error)) or type(error).__name__
        raise UserError(f"the Prometheus at {ask.shown(reach.base_url)} cannot be asked ({reason})") from None
    try:
        answer = msgspec.json.decode(reply.content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UserError(f"{ask.shown(where)} answers {reply.status_code}, and not as a Prometheus does") from None
    if answer.status != "success" or answer.data is None:
        said = ask.plain(ask.masked(reach, answer.error))[: ask.MAX_QUOTE]
        raise UserError(f"the Prometheus at {ask.shown(reach.base_url)} refuses: {said}")
    return answer.data.result
