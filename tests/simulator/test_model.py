import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator.blocks import chain_hashes
from inferometer.simulator.model import Engine, Profile, Request, step_ns
from simulator.replay import Timeline, closed_loop

PLAIN = Profile(num_gpu_blocks=1000, step_ns=1000, per_sequence_ns=10, per_prefill_token_ns=1, max_batch_tokens=100)


def request(key: int, prompt: int = 20, output: int = 3, first_id: int | None = None) -> Request:
    start = 1000 * key if first_id is None else first_id
    ids = range(start, start + prompt + output)
    return Request(key=key, prompt_tokens=prompt, output_tokens=output, hashes=chain_hashes(ids, 16))


def profile(**changes: int) -> Profile:
    values = {
        "num_gpu_blocks": 1000,
        "step_ns": 1000,
        "per_sequence_ns": 10,
        "per_prefill_token_ns": 1,
        "max_batch_tokens": 100,
    }
    return Profile(**{**values, **changes})


def play(engine: Engine, requests: list[Request], concurrency: int = 1000) -> list[Timeline]:
    return closed_loop(engine, requests, concurrency)


def test_one_request_step_by_step() -> None:
    engine = Engine(PLAIN)
    engine.submit(request(0), 500)
    assert engine.due_ns() == 500
    assert engine.play() == (500, [])
    assert engine.due_ns() == 500 + 1020  # the whole prompt in one step
    at_ns, [(progress, tokens, last)] = engine.play()
    assert (at_ns, tokens, last) == (1520, 1, False)
    assert (progress.arrived_ns, progress.queued_ns, progress.scheduled_ns, progress.first_ns) == (500, 500, 500, 1520)
    assert engine.due_ns() == 1520 + 1010  # one decoding sequence
    engine.play()
    at_ns, [(progress, _tokens, last)] = engine.play()
    assert (at_ns, last, progress.generated) == (3540, True, 3)
    assert engine.due_ns() is None
    assert engine.figures().running == 0
    assert engine.figures().kv_usage == 0


def test_step_costs_add_up() -> None:
    costs = Profile(num_gpu_blocks=1, step_ns=7, per_sequence_ns=5, per_prefill_token_ns=3, per_context_token_ns=2)
    assert step_ns(costs, decoding=1, prefill_tokens=10, context_tokens=100) == 7 + 5 + 30 + 200


def test_prefill_slows_the_decoding_in_its_step() -> None:
    engine = Engine(PLAIN)
    engine.submit(request(0, prompt=10, output=9), 0)
    engine.submit(request(1, prompt=90, output=1), 1500)
    gaps = []
    last_ns = 0
    while engine.due_ns() is not None:
        at_ns, emissions = engine.play()
        gaps += [at_ns - last_ns for progress, _tokens, _last in emissions if progress.request.key == 0]
        last_ns = at_ns
    assert gaps == [1010, 1010, 1100, 1010, 1010, 1010, 1010, 1010, 1010]


def test_long_prompts_are_computed_in_chunks() -> None:
    engine = Engine(PLAIN)
    [timeline] = play(engine, [request(0, prompt=250, output=2)])
    assert timeline.token_ns == [3 * 1000 + 250, 3250 + 1010]


def test_decoding_sequences_leave_less_budget_for_prompts() -> None:
    engine = Engine(profile(max_batch_tokens=16))
    engine.submit(request(0, prompt=16, output=50), 0)
    engine.submit(request(1, prompt=30, output=1), 0)
    engine.begin_step(0)
    engine.end_step()
    second = engine.begin_step(1016)
    assert second is not None
    assert (second.sequences, second.prefill_tokens) == (2, 15)


def test_queue_is_first_in_first_out_and_bounded_by_sequences() -> None:
    engine = Engine(profile(max_num_seqs=2))
    timelines = play(engine, [request(key, output=5) for key in range(5)])
    firsts = [timeline.token_ns[0] for timeline in timelines]
    assert firsts == sorted(firsts)
    assert firsts[0] == firsts[1] < firsts[2] == firsts[3] < firsts[4]


def test_figures_count_the_queue() -> None:
    engine = Engine(profile(max_num_seqs=2, num_gpu_blocks=10))
    for key in range(3):
        engine.submit(request(key), 0)
    engine.play()
    figures = engine.figures()
    assert (figures.running, figures.waiting, figures.kv_usage) == (2, 1, 0.4)


def test_frontend_is_serial_and_then_constant() -> None:
    engine = Engine(profile(frontend_ns=5000, frontend_serial_ns=100))
    assert [engine.submit(request(key), now).queued_ns for key, now in enumerate((0, 10, 900))] == [5100, 5200, 6000]
    assert engine.due_ns() == 5100


def test_full_cache_preempts_the_youngest_which_is_computed_again() -> None:
    small = profile(num_gpu_blocks=5)
    engine = Engine(small)
    timelines = play(engine, [request(0, 30, 30), request(1, 30, 30)])
    alone = play(Engine(small), [request(0, 30, 30)])[0]
    assert engine.figures().preemptions == 1
    assert [len(timeline.token_ns) for timeline in timelines] == [30, 30]
    assert timelines[0].token_ns[-1] < timelines[1].token_ns[-1]
    gaps = [b - a for a, b in zip(timelines[1].token_ns, timelines[1].token_ns[1:], strict=False)]
    assert max(gaps) > 5 * 1010  # it waited for the other to end
    assert alone.token_ns[-1] <= timelines[0].token_ns[-1]


def test_a_cache_that_shrinks_preempts_and_one_that_grows_again_takes_back() -> None:
    engine = Engine(profile(num_gpu_blocks=100))
    for key in range(3):
        engine.submit(request(key, 30, 300), 0)
    for _ in range(20):
        engine.play()
    assert (engine.figures().running, engine.figures().preemptions) == (3, 0)
    engine.limit_cache(1)  # and yet it keeps the 21 blocks that one request needs
    while engine.figures().running > 1:
        engine.play()
        assert 0 < engine.figures().kv_usage <= 1
    assert engine.figures().waiting == 2
    assert engine.figures().preemptions >= 2
    engine.limit_cache(None)
    engine.play()
    assert (engine.figures().running, engine.figures().waiting) == (3, 0)


def test_equal_prefixes_are_computed_once() -> None:
    engine = Engine(profile(max_batch_tokens=1000))
    timelines = play(engine, [request(0, 100, 1, first_id=0), request(1, 100, 1, first_id=0)], concurrency=1)
    ttft = [timeline.token_ns[0] - timeline.sent_ns for timeline in timelines]
    assert ttft == [1100, 1000 + 100 - 96]  # six full blocks of sixteen
    figures = engine.figures()
    assert (figures.prefix_queries, figures.prefix_hits) == (200, 96)


def test_a_wholly_cached_prompt_still_computes_a_block() -> None:
    engine = Engine(PLAIN)
    timelines = play(engine, [request(0, 32, 1, first_id=0), request(1, 32, 1, first_id=0)], concurrency=1)
    assert timelines[1].token_ns[0] - timelines[1].sent_ns == 1016


def test_answers_are_cached_for_the_next_turn() -> None:
    engine = Engine(PLAIN)
    play(engine, [request(0, 20, 45, first_id=0), request(1, 80, 1, first_id=0)], concurrency=1)
    assert engine.figures().prefix_hits == 64


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_abort_frees_everything(steps: int) -> None:
    engine = Engine(PLAIN)
    kept, dropped = engine.submit(request(0), 0), engine.submit(request(1), 0)
    for _ in range(steps):
        engine.play()
    engine.abort(dropped)
    engine.abort(dropped)
    emitted = []
    while engine.due_ns() is not None:
        emitted += engine.play()[1]
    assert {progress.request.key for progress, _tokens, _last in emitted} == {kept.request.key}
    assert engine.figures().kv_usage == 0


def test_a_request_larger_than_the_cache_is_refused() -> None:
    with pytest.raises(ValueError, match="7 blocks cannot fit a cache of 6"):
        Engine(profile(num_gpu_blocks=6)).submit(request(0, 90, 7), 0)


def test_jitter_is_seeded() -> None:
    shaky = Profile(num_gpu_blocks=100, step_ns=1000, jitter=0.2)
    runs = [play(Engine(shaky, seed), [request(0, 20, 50)])[0].token_ns for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


shapes = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=25)


@given(shapes, st.integers(1, 10), st.integers(7, 30), st.integers(1, 6), st.integers(1, 64))
def test_every_token_comes_once_and_in_order(
    asked: list[tuple[int, int, int]], concurrency: int, blocks: int, seqs: int, budget: int
) -> None:
    engine = Engine(profile(num_gpu_blocks=blocks, max_num_seqs=seqs, max_batch_tokens=budget))
    requests = [request(key, prompt, out, 100 * family) for key, (prompt, out, family) in enumerate(asked)]
    timelines = play(engine, requests, concurrency)
    assert [len(timeline.token_ns) for timeline in timelines] == [out for _prompt, out, _family in asked]
    for timeline in timelines:
        assert timeline.sent_ns < timeline.token_ns[0]
        assert all(a < b for a, b in zip(timeline.token_ns, timeline.token_ns[1:], strict=False))
    figures = engine.figures()
    assert (figures.running, figures.waiting, figures.kv_usage) == (0, 0, 0)
    assert figures.prefix_hits <= figures.prefix_queries == sum(prompt for prompt, _out, _family in asked)


@given(shapes, st.lists(st.none() | st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 20))
def test_every_request_ends_however_the_cache_shrinks_and_grows(
    asked: list[tuple[int, int, int]], limits: list[int | None], plays: int
) -> None:
    engine = Engine(profile(num_gpu_blocks=30))
    for key, (prompt, out, family) in enumerate(asked):
        engine.submit(request(key, prompt, out, 100 * family), 10 * key)
    tokens = [0] * len(asked)
    turn = 0
    while engine.due_ns() is not None:
        engine.limit_cache(limits[turn // plays % len(limits)])
        turn += 1
        for progress, count, _last in engine.play()[1]:
            tokens[progress.request.key] += count
    assert tokens == [out for _prompt, out, _family in asked]
    assert (engine.figures().running, engine.figures().waiting, engine.figures().kv_usage) == (0, 0, 0)
