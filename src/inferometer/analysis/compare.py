"""Runs side by side: what changed, how sure that is, and whether it is a regression.

Two single runs: the interval of a difference from the intervals of both sides (MOVER; Zou and Donner 2008), on ratios
for latencies and rates, on differences for shares. Where a side was repeated, the spread between its runs decides
instead (Welch's t; a side with one run is taken to spread as the other does). Many figures are compared at once, so
p-values are corrected (Benjamini and Hochberg 1995): of two runs that differ in nothing, at most ``LEVEL`` are called
different in anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from inferometer.analysis.alike import Difference, differences
from inferometer.analysis.run_data import RunData, StageData, from_summary, with_rows
from inferometer.analysis.sides import Group, Side, scaled, side
from inferometer.analysis.stats import Estimate, t_quantile
from inferometer.analysis.thresholds import Figure, about, amount, figure
from inferometer.errors import UserError

__all__ = ["RunData", "StageData", "check", "compare", "from_summary", "parse_rule", "with_rows"]

#: Chance of a false alarm per comparison.
LEVEL = 0.05
#: Changes up to this are not called regressions: a share of the base, or of 1 for shares.
LIMIT = 0.05
LIMIT_OF_SHARES = 0.01
#: Smaller changes are none, however sure: a server that answers like clockwork has intervals without any width.
RESOLUTION = 0.001
DEFAULT = (
    "ttft_mean_ms",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "tpot_mean_ms",
    "tpot_p50_ms",
    "tpot_p95_ms",
    "itl_p50_ms",
    "itl_p95_ms",
    "e2el_mean_ms",
    "e2el_p50_ms",
    "e2el_p95_ms",
    "requests_per_s",
    "output_tokens_per_s",
    "goodput_per_s",
    "success_rate",
)
_Z = 1.959963984540054
_RULE = re.compile(r"\s*([\w.]+)\s*>\s*([\d.]+)\s*%\s*(?:@\s*(.+?)\s*)?")

Outcome = Literal["regression", "improvement", "slightly worse", "slightly better", "same", "unclear", "not judged"]


class Rule(msgspec.Struct, frozen=True):
    """A figure that may get worse by ``limit`` (a share of the base; percentage points of a share) at most."""

    text: str
    figure: str
    limit: float
    stage: str | None = None


class Row(msgspec.Struct, frozen=True):
    """One figure of one stage, in the base and in another run (or set of repeats).

    ``change`` is other / base - 1, or other - base for shares; ``low`` and ``high`` are its 95 % interval, ``p`` the
    corrected p-value of no change. None where no interval is known.
    """

    stage: str
    figure: str
    label: str
    base: Estimate
    other: Estimate
    runs: tuple[int, int]
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    outcome: Outcome
    sentence: str


class Comparison(msgspec.Struct, frozen=True):
    """``labels`` begin with the base. ``unmatched`` are stages that some run lacks; ``differing`` facts that differ."""

    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    unmatched: tuple[str, ...]
    differing: tuple[Difference, ...]


def parse_rule(text: str) -> Rule:
    """``ttft_p95>10%``, with ``@ STAGE`` for one stage. Raises ``UserError``."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is no rule: write FIGURE>PER CENT, such as ttft_p95>10%")
    try:
        return Rule(text.strip(), figure(match[1]).name, float(match[2]) / 100, match[3])
    except ValueError:
        raise UserError(f"{text!r}: {match[2]!r} is not a number") from None


def compare(
    groups: Sequence[Group], names: Sequence[str] = DEFAULT, limits: Mapping[str, float] | None = None
) -> Comparison:
    """Every group against the first.

    Args:
        groups: one or more runs each; the first is the base.
        names: figures to compare; those that a stage does not have are left out.
        limits: the largest change that is not called a regression, by figure; ``LIMIT`` for the others.

    Raises:
        UserError: there are fewer than two groups, or no stage is in all of them.
    """
    if len(groups) < 2:
        raise UserError("a comparison needs two runs or more: name another one, or --baseline NAME")
    keys, unmatched = _matched(groups)
    base, *others = groups
    drafts = [
        row
        for other in others
        for key in keys
        for name in names
        if (row := _row(key, figure(name), base, other)) is not None
    ]
    rows = tuple(_decided(row, p, _limit(row, limits or {})) for row, p in zip(drafts, _corrected(drafts), strict=True))
    return Comparison(tuple(group[0].label for group in groups), rows, unmatched, differences(groups, keys))


def check(groups: Sequence[Group], rules: Sequence[Rule]) -> tuple[tuple[Rule, Row], ...]:
    """Every rule with every row that it is about; it is broken where the outcome is ``regression``.

    That is a change for the worse beyond the limit of the rule and beyond the noise. p-values are corrected over all
    that the rules are about.

    Raises:
        UserError: as ``compare``; or a rule is about a figure or a stage that the runs do not have in common, because
            a rule that cannot be checked is not kept.
    """
    if not rules:
        return ()
    compared = compare(groups, list(dict.fromkeys(rule.figure for rule in rules)))
    found = []
    for rule in rules:
        rows = [row for row in compared.rows if row.figure == rule.figure and about(rule.stage, row.stage)]
        if not rows:
            where = f" at {rule.stage!r}" if rule.stage else ""
            raise UserError(f"{rule.text!r} cannot be checked: the runs have no {rule.figure}{where} in common")
        found += [(rule, _decided(row, row.p, rule.limit)) for row in rows]
    return tuple(found)


# --- matching --------------------------------------------------------------------------------------------------------


def _matched(groups: Sequence[Group]) -> tuple[list[str], tuple[str, ...]]:
    """Stages that all groups have, in the order of the first; and those that some lack, with what they are called."""
    known = [{stage.key: None for run in group for stage in run.stages} for group in groups]
    shared = [key for key in known[0] if all(key in keys for keys in known)]
    if not shared:
        told = "; ".join(f"{group[0].label}: {', '.join(keys)}" for group, keys in zip(groups, known, strict=True))
        raise UserError(f"the runs have no stage in common, by name and load ({told})")
    union = dict.fromkeys(key for keys in known for key in keys)
    return shared, tuple(key for key in union if key not in shared)


# --- differences -----------------------------------------------------------------------------------------------------


class _Change(NamedTuple):
    """A difference on the scale compared (logarithms, or shares as they are)."""

    value: float
    low: float | None
    high: float | None
    p: float | None


def _row(key: str, subject: Figure, base: Group, other: Group) -> Row | None:
    """A row that is not decided yet."""
    left, right = side(base, key, subject), side(other, key, subject)
    if left is None or right is None:
        return None
    change = _change(left, right, subject)
    ends = (None, None, None) if change is None else change[:3]
    value, low, high = (None if end is None else _unscaled(end, subject) for end in ends)
    p = None if change is None else change.p
    runs = (left.runs, right.runs)
    return Row(
        key, subject.name, other[0].label, left.estimate, right.estimate, runs, value, low, high, p, "not judged", ""
    )


def _change(left: Side, right: Side, subject: Figure) -> _Change | None:
    """None where a ratio to nothing would be needed."""
    ends = scaled(left.estimate.value, subject), scaled(right.estimate.value, subject)
    if ends[0] is None or ends[1] is None:
        return None
    value = ends[1] - ends[0]
    if max(left.runs, right.runs) == 1:
        return _from_intervals(value, left, right, subject)
    return _from_repeats(value, left, right)


def _from_intervals(value: float, left: Side, right: Side, subject: Figure) -> _Change:
    """MOVER: each end of the difference from the ends of the two intervals that point there."""
    below, above = _arms(left.estimate, subject), _arms(right.estimate, subject)
    if below is None or above is None:
        return _Change(value, None, None, None)
    low, high = value - math.hypot(above[0], below[1]), value + math.hypot(above[1], below[0])
    arm, facing = (value - low, (below[1], above[0])) if value > 0 else (high - value, (below[0], above[1]))
    arms_out = abs(value) / arm if arm else (math.inf if value else 0.0)
    freedom = _together(facing, (left.freedom, right.freedom))
    p = math.erfc(arms_out * _Z / math.sqrt(2)) if freedom is None else _t_tail(arms_out * _t_half(freedom), freedom)
    return _Change(value, low, high, p)


def _together(arms: tuple[float, float], freedoms: tuple[int | None, int | None]) -> float | None:
    """Degrees of freedom of a difference (Welch, Satterthwaite); None: its noise is taken for exactly known."""
    weight = sum(arm**4 / freedom for arm, freedom in zip(arms, freedoms, strict=True) if freedom is not None)
    return (arms[0] ** 2 + arms[1] ** 2) ** 2 / weight if weight else None


def _arms(estimate: Estimate, subject: Figure) -> tuple[float, float] | None:
    """How far the interval reaches below and above the value, on the scale compared."""
    if estimate.low is None or estimate.high is None:
        return None
    value, low, high = (scaled(end, subject) for end in (estimate.value, estimate.low, estimate.high))
    if value is None or high is None:
        return None
    return (high - value if low is None else value - low), high - value


def _from_repeats(value: float, left: Side, right: Side) -> _Change:
    """Welch's t on one value per run."""
    if any(side.runs > 1 and side.spread is None for side in (left, right)):
        return _Change(value, None, None, None)  # a run of nothing among others: it spreads, but no scale says how far
    spreads = [side.spread for side in (left, right) if side.spread is not None]
    parts = [(side.spread if side.spread is not None else spreads[0]) ** 2 / side.runs for side in (left, right)]
    error = math.sqrt(sum(parts))
    known = [(part, side.runs - 1) for part, side in zip(parts, (left, right), strict=True) if side.runs > 1]
    weight = sum(part**2 / freedom for part, freedom in known)
    # of a single run only the other side's spread is known, and with it the freedom
    total = sum(parts) if len(known) == len(parts) else known[0][0]
    freedom = max(1.0, total**2 / weight) if weight else float(sum(freedom for _, freedom in known))
    half = _t_half(freedom) * error
    return _Change(value, value - half, value + half, _t_tail(value / error if error else math.inf, freedom))


def _t_half(freedom: float) -> float:
    return t_quantile(max(1, math.floor(freedom)))


def _t_tail(t: float, freedom: float) -> float:
    """P(|T| > |t|), two-sided."""
    from scipy.special import stdtr

    return float(2 * stdtr(max(1, math.floor(freedom)), -abs(t)))


def _unscaled(change: float, subject: Figure) -> float:
    return change if subject.unit == "share" else math.expm1(min(change, 700.0))


def _corrected(rows: Sequence[Row]) -> list[float | None]:
    """p-values as Benjamini and Hochberg correct them, over all that there are."""
    known = [number for number, row in enumerate(rows) if row.p is not None]
    p = np.array([rows[number].p for number in known], np.float64)
    rising = np.argsort(p)
    stepped = p[rising] * len(p) / np.arange(1, len(p) + 1)
    least = np.minimum.accumulate(stepped[::-1])[::-1]
    corrected: list[float | None] = [None] * len(rows)
    for place, value in zip(rising, least, strict=True):
        corrected[known[place]] = min(1.0, float(value))
    return corrected


# --- decisions -------------------------------------------------------------------------------------------------------


def _limit(row: Row, limits: Mapping[str, float]) -> float:
    unit = figure(row.figure).unit
    return limits.get(row.figure, LIMIT_OF_SHARES if unit == "share" else LIMIT)


def _decided(row: Row, p: float | None, limit: float) -> Row:
    outcome = _outcome(row, p, limit)
    return msgspec.structs.replace(row, p=p, outcome=outcome, sentence=_sentence(row, outcome, limit))


def _outcome(row: Row, p: float | None, limit: float) -> Outcome:
    if row.change is None or row.low is None or row.high is None or p is None:
        return "not judged"
    worse = (row.change > 0) == (figure(row.figure).better == "lower")
    if p <= LEVEL and abs(row.change) > RESOLUTION and not row.low <= 0 <= row.high:
        if abs(row.change) <= limit:
            return "slightly worse" if worse else "slightly better"
        return "regression" if worse else "improvement"
    return "same" if max(abs(row.low), abs(row.high)) <= limit else "unclear"


def _sentence(row: Row, outcome: Outcome, limit: float) -> str:
    subject = figure(row.figure)
    before, after = amount(row.base.value, subject.unit), amount(row.other.value, subject.unit)
    head = f"{row.stage}: {subject.title} {before} -> {after}"
    if row.change is None:
        return f"{head}; a change from nothing has no size."
    word = _WORDS[subject.unit == "ms"][row.change > 0]
    change = f"{_percent(abs(row.change), subject)} {word}"
    if row.low is None or row.high is None:
        return f"{head}, {change}; the noise is unknown, so this is not judged."
    ends = (row.low, row.high) if row.change > 0 else (-row.high, -row.low)  # of what the word says
    interval = f"95 % interval {_percent(ends[0], subject)} to {_percent(ends[1], subject)}"
    return f"{head}, {change} ({interval}): {_MEANING[outcome].format(limit=_percent(limit, subject))}."


_WORDS = {True: {True: "slower", False: "faster"}, False: {True: "higher", False: "lower"}}
_MEANING: dict[Outcome, str] = {
    "regression": "worse by more than the limit of {limit} and the noise",
    "improvement": "better by more than the limit of {limit} and the noise",
    "slightly worse": "worse by more than the noise, within the limit of {limit}",
    "slightly better": "better by more than the noise, within the limit of {limit}",
    "same": "any change is within the limit of {limit}",
    "unclear": "too noisy to tell; repeat it, or send more requests",
}


def _percent(change: float, subject: Figure) -> str:
    return f"{round(100 * change, 1) + 0.0:.1f} {'points' if subject.unit == 'share' else '%'}"
