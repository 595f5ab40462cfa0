"""What inference-perf and llm-d report of a stage or of a whole run: distributions from the send, in seconds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats, Frame
from inferometer.analysis.metrics import BY_NAME, met, output_counts
from inferometer.analysis.window import Window, whole_window
from inferometer.config.models import Plan, Slo
from inferometer.export.run import NS_PER_S
from inferometer.export.spread import Spread, spread, spread_of

PERCENTS = (0.1, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)
_S_PER_MS = 1e-3


class Lifecycle(msgspec.Struct, frozen=True, eq=False):
    """Requests of one stage or of all. Latencies in seconds, from the send of the last try; None: no value."""

    rows: Frame
    window: Window | None
    request_latency: Spread | None
    normalized_time_per_output_token: Spread | None
    time_per_output_token: Spread | None
    time_to_first_token: Spread | None
    inter_token_latency: Spread | None
    schedule_delay: Spread | None
    input_length: Spread | None
    output_length: Spread | None
    failed_latency: Spread | None
    failed_input_length: Spread | None

    @property
    def count(self) -> int:
        """Requests that were meant to be sent."""
        return len(self.rows)

    @property
    def ok(self) -> int:
        """Those that succeeded."""
        return int(np.count_nonzero(self.rows.ok))

    @property
    def aborted(self) -> int:
        """Those that this client gave up when the run was ended."""
        return int(np.count_nonzero(np.equal(self.rows.outcome, "client_aborted")))

    @property
    def seconds(self) -> float | None:
        """From the first send to the last completion."""
        return self.window.length_s if self.window else None

    @property
    def input_tokens(self) -> float | None:
        """Prompt tokens of all that succeeded; None if those of one of them are not known."""
        return _total(self.rows.prompt_tokens[self.rows.ok])

    @property
    def output_tokens(self) -> float | None:
        """Output tokens of all that succeeded."""
        return _total(output_counts(self.rows)[self.rows.ok])

    @property
    def rates(self) -> dict[str, float | None]:
        """Per second, by ``input``, ``output``, ``total`` (tokens) and ``request``; None: not known."""
        asked, answered = self.input_tokens, self.output_tokens
        both = asked + answered if asked is not None and answered is not None else None
        totals = {"input": asked, "output": answered, "total": both, "request": float(self.ok)}
        return {name: self.per_second(total) for name, total in totals.items()}

    def per_second(self, total: float | None) -> float | None:
        """A total over the window."""
        return None if total is None or not self.seconds else total / self.seconds


def percents(plan: Plan) -> list[float]:
    """The percentiles of inference-perf, and those that the plan asks for."""
    return sorted({*PERCENTS, *plan.report.percentiles})


def lifecycle(rows: Frame, percents: Sequence[float] = PERCENTS) -> Lifecycle:
    """The figures of requests whose latencies start at their send (``run.from_send``).

    A request lasts from its send to the end of its answer, which is a little later than its last token.
    """
    elapsed_ns = rows.end_ns - rows.sent_ns
    tokens = output_counts(rows)

    def of(values: Floats, scale: float = 1 / NS_PER_S) -> Spread | None:
        return spread_of(values, percents, scale)

    def metric(name: str) -> Spread | None:
        return spread(BY_NAME[name].samples(rows), percents, _S_PER_MS)

    return Lifecycle(
        rows=rows,
        window=whole_window(rows),
        request_latency=of(elapsed_ns[rows.ok]),
        normalized_time_per_output_token=of((elapsed_ns / np.where(tokens >= 1, tokens, np.nan))[rows.ok]),
        time_per_output_token=metric("tpot"),
        time_to_first_token=metric("ttft"),
        inter_token_latency=metric("event_gap"),
        schedule_delay=of(rows.sent_ns - rows.scheduled_ns),
        input_length=of(rows.prompt_tokens[rows.ok], 1.0),
        output_length=of(tokens[rows.ok], 1.0),
        failed_latency=of(elapsed_ns[~rows.ok]),
        failed_input_length=of(rows.prompt_tokens[~rows.ok], 1.0),
    )


def _total(values: Floats) -> float | None:
    total = float(values.sum())
    return total if np.isfinite(total) else None


class Goodput(NamedTuple):
    """Requests that met every limit, over all requests; failures count against them."""

    good: int
    requests: int
    output_tokens: float
    attained: dict[str, float]

    @property
    def share(self) -> float | None:
        """Good requests of all, as a fraction."""
        return self.good / self.requests if self.requests else None


def goodput(rows: Frame, slos: Sequence[Slo]) -> Goodput | None:
    """Goodput of these rows, from wherever their latencies start; None without limits or rows."""
    if not slos or not len(rows):
        return None
    good = met(rows, slos)
    attained: dict[str, float] = {slo.metric: float(np.count_nonzero(met(rows, [slo])) / len(rows)) for slo in slos}
    return Goodput(int(np.count_nonzero(good)), len(rows), float(output_counts(rows)[good].sum()), attained)
