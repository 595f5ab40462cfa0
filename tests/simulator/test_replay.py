from inferometer.simulator.exact import ExactEngine, Timeline
from inferometer.simulator.model import Engine, Profile, Request
from simulator.replay import closed_loop

PROFILE = Profile(num_gpu_blocks=100, step_ns=1000)


def test_a_client_sends_again_after_its_last_token() -> None:
    requests = [Request(key=key, prompt_tokens=4, output_tokens=2 + key) for key in range(4)]
    timelines = closed_loop(Engine(PROFILE), requests, 2, lambda index: 10 * index)
    assert [timeline.sent_ns for timeline in timelines[:2]] == [0, 10]
    assert timelines[2].sent_ns == timelines[0].token_ns[-1] + 20
    assert timelines[3].sent_ns == timelines[1].token_ns[-1] + 30


def test_never_more_in_flight_than_clients() -> None:
    requests = [Request(key=key, prompt_tokens=4, output_tokens=1 + key % 5) for key in range(30)]
    timelines = closed_loop(Engine(PROFILE), requests, 4)
    changes = sorted([(t.token_ns[-1], -1) for t in timelines] + [(t.sent_ns, 1) for t in timelines])
    level = peak = 0
    for _at_ns, change in changes:
        level += change
        peak = max(peak, level)
    assert peak == 4


def test_exact_timelines_play_the_same_way() -> None:
    engine = ExactEngine(Timeline(ttft_ns=50, itl_ns=10))
    requests = [Request(key=key, prompt_tokens=1, output_tokens=3) for key in range(2)]
    timelines = closed_loop(engine, requests, 1)
    assert [timeline.token_ns for timeline in timelines] == [[50, 60, 70], [120, 130, 140]]
