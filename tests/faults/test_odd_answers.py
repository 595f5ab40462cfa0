"""Answers that are written in an odd but legal way are read as those that are not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from e2e.support import simulating
from faults.playing import QUICK, TRIALS, play
from faults.rows import Row, check
from inferometer.simulator.styles import STYLES

EACH = 3
ROWS = (
    Row(
        "any odd but legal stream (each style of [`--fault odd`](simulator.md#misbehaving))",
        "the same counts as from a plain server",
        {"ok": None},
        0,
        also="with the same tokens",
    ),
)


def test_every_style_reads_the_same(tmp_path: Path) -> None:
    """One run over all styles: each is a model of its own, beside one that is plain."""
    names = ["plain", *STYLES]
    given = [word for style in STYLES for word in ("--fault", f"odd={style},model={style},after_requests={TRIALS}")]
    load = ("--max-concurrency", 4, "--num-prompts", EACH * len(names), "--models", *names)
    with simulating(*QUICK, *given, "--model", *names) as url:
        played = play(url, tmp_path / "r", *load)
    check(ROWS[0], played)
    read = Counter(played.rows("model", "output_tokens", "finish_reason"))
    assert read == {(name, 8, "length"): EACH for name in names}
    sources = played.rows("model", "output_tokens_source")
    assert {name for name, source in sources if source == "events"} == {"no_usage"}
    tokens = {len(times) for times in played.measured("event_ns")}
    assert tokens == {8}
