"""A comparison with everything that a page of one can show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "analysis"))  # runs with known latencies are drawn there

from drawn_runs import lognormal

from inferometer.analysis.compare import check, compare, parse_rule
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.sides import curves
from inferometer.analysis.stats import Estimate
from inferometer.report.comparison_page import CURVES, Compared
from inferometer.report.junit import Case
from reported_run import HOSTILE


def run(label: str, seed: int, levels: Sequence[int], slower: float = 1.0) -> RunData:
    """TTFT grows with the load, and throughput with it; the highest load has too few requests for a p95."""
    rng = np.random.default_rng(seed)
    stages = []
    for level in levels:
        requests = 40 if level == max(levels) else 200
        ttft = slower ** (level / max(levels)) * lognormal(rng, 40.0 + 4 * level, 0.1, requests)
        rate = 8.0 * level / slower
        figures = {
            "requests_per_s": Estimate(rate, 0.97 * rate, 1.03 * rate, requests),
            "output_tokens_per_s": Estimate(64 * rate, None, None, requests),
            "success_rate": Estimate(1.0, 0.98, 1.0, requests),
        }
        series = {"ttft": ttft, "e2el": ttft + 640}
        facts = {"output tokens got": 64.0 * slower}
        stages.append(StageData(f"concurrency {level}", figures, series, facts, "VALID"))
    return RunData(label, tuple(stages), {"model": HOSTILE if label == "old" else "small", "api": "openai-chat"})


def compared(levels: Sequence[int] = (1, 2, 4, 8, 16), others: int = 1, slower: float = 1.5) -> Compared:
    """``old`` against ``new`` and, if asked for, runs that are like it."""
    groups = [[run("old", 1, levels)], [run("new", 2, levels, slower)]]
    groups += [[run(f"run {number}", 10 + number, levels)] for number in range(others - 1)]
    judged = check(groups, [parse_rule("ttft_p50>10%"), parse_rule(f"output_tok_s>5% @ {levels[0]}")])
    cases = [
        Case(
            f"{row.label}: {row.stage}",
            rule.text,
            row.outcome != "regression",
            row.sentence,
            row.outcome != "not judged",
        )
        for rule, row in judged
    ]
    contexts = {group[0].label: group[0].context for group in groups}
    return Compared(compare(groups), curves(groups, CURVES), cases, contexts)
