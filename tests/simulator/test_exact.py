from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator.exact import ExactEngine, Timeline
from inferometer.simulator.model import Request


def due_times(timeline: Timeline, arrived_ns: int, output_tokens: int) -> list[int]:
    """When each event of an answer is due, in ns on the clock of ``arrived_ns``."""
    gap_ns = timeline.itl_ns * timeline.tokens_per_event
    events = -(-output_tokens // timeline.tokens_per_event)
    first_ns = arrived_ns + timeline.ttft_ns
    return [first_ns + index * gap_ns for index in range(events)]


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 20)), min_size=1, max_size=10),
    st.integers(0, 100),
    st.integers(0, 30),
    st.integers(1, 4),
)
def test_every_event_is_due_when_the_timeline_says(
    asked: list[tuple[int, int]], ttft_ns: int, itl_ns: int, tokens_per_event: int
) -> None:
    timeline = Timeline(ttft_ns=ttft_ns, itl_ns=itl_ns, tokens_per_event=tokens_per_event)
    engine = ExactEngine(timeline)
    for key, (now_ns, output) in enumerate(asked):
        engine.submit(Request(key=key, prompt_tokens=1, output_tokens=output), now_ns)
    played: list[list[int]] = [[] for _ in asked]
    tokens_of = [0] * len(asked)
    while engine.due_ns() is not None:
        at_ns, emissions = engine.play()
        for progress, tokens, last in emissions:
            played[progress.request.key].append(at_ns)
            tokens_of[progress.request.key] += tokens
            assert last == (progress.generated == progress.request.output_tokens)
    assert played == [due_times(timeline, now_ns, output) for now_ns, output in asked]
    assert tokens_of == [output for _now_ns, output in asked]
    assert engine.figures().running == 0


def test_due_times() -> None:
    assert due_times(Timeline(ttft_ns=50, itl_ns=10), 1000, 3) == [1050, 1060, 1070]
    assert due_times(Timeline(ttft_ns=50, itl_ns=10, tokens_per_event=2), 1000, 5) == [1050, 1070, 1090]


def test_aborted_requests_are_silent() -> None:
    engine = ExactEngine(Timeline(ttft_ns=5, itl_ns=1))
    progress = engine.submit(Request(key=1, prompt_tokens=1, output_tokens=3), 0)
    engine.play()
    engine.abort(progress)
    engine.abort(progress)
    assert engine.figures().running == 0
    assert engine.play() == (6, [])
    assert engine.due_ns() is None
