"""The display of a run that lasts."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from inferometer.cli import display
from inferometer.client.counters import Totals
from inferometer.config.models import ClosedLoop, Phase, Stage
from inferometer.runner.local import Progress


@pytest.mark.parametrize("name", ["a[/b]", "[red]b", "[1]", "µ \\[x"])
def test_any_name_of_a_stage_is_shown_as_it_is(name: str) -> None:
    stage = Stage(name=name, load=ClosedLoop(concurrency=2), num_requests=5)
    progress = Progress(1, 1, stage, Phase.MEASURED, 1.0, Totals(3, 2, 2, 9), over=False)
    shown = Console(file=io.StringIO(), width=200)
    shown.print(display._bar(progress))
    assert isinstance(shown.file, io.StringIO)
    assert f"[1/1] {name}: concurrency 2" in shown.file.getvalue()


@pytest.mark.parametrize(
    ("conversations", "ends", "extent"),
    [
        (False, {"num_requests": 5}, (5, 2)),
        (True, {"num_requests": 5}, (None, 2)),  # two turns are not two of five conversations
        (True, {"duration_s": 9.0}, (9.0, 1.0)),
    ],
)
def test_the_bar_is_as_long_as_what_is_counted(
    conversations: bool, ends: dict[str, float], extent: tuple[float | None, float]
) -> None:
    stage = Stage.model_validate({"load": ClosedLoop(concurrency=2), **ends})
    progress = Progress(1, 1, stage, Phase.MEASURED, 1.0, Totals(3, 2, 2, 9), over=False, conversations=conversations)
    assert display._extent(progress) == extent
    Console(file=io.StringIO()).print(display._bar(progress))
