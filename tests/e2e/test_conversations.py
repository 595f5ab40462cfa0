"""The installed command with conversations and users: what the server received, in which order, and when."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from e2e.recording import Recorder
from e2e.support import rows

Call = Callable[..., subprocess.CompletedProcess[str]]


def test_conversations_carry_the_answers_on(inferometer: Call, recorder: Recorder, tmp_path: Path) -> None:
    """Ten conversations, three at once, of three turns behind one system message; a third of later turns is a tool."""
    words = "--dataset-name conversation --conversation-turns 3 --conversation-system-len 12 --conversation-input-len 9"
    words += " --conversation-output-len 2 --think-time 0.02-0.05 --tool-share 0.4 --tool-time 0.1 --max-concurrency 3"
    words += " --num-prompts 10 --num-warmups 1 --seed 5 --workers 2 --run-dir r --output s.json"
    done = inferometer(
        "run", "--base-url", recorder.url, *words.split(), "--request-header", "x-session=s{conversation}"
    )
    assert done.returncode == 0, done.stderr
    asked = [one for one in recorder.asked if one.headers.get("x-request-id", "").startswith("inferometer-0")]
    talks: dict[str, list[Any]] = defaultdict(list)
    for one in asked:
        talks[one.headers["x-session"]].append(one.body["messages"])
    assert (len(asked), sorted(talks)) == (30, sorted(f"s{n}" for n in range(10)))
    systems, questions = set(), []
    for turns in talks.values():
        assert [len(messages) for messages in turns] == [2, 4, 6]
        assert [message["role"] for message in turns[-1]] == ["system", *("user", "assistant") * 2, "user"]
        assert turns[1][:2] == turns[0]
        assert turns[2][:4] == turns[1]
        assert [turns[1][2]["content"], turns[2][4]["content"]] == ["answer 2", "answer 4"]
        systems.add(turns[0][0]["content"])
        questions += [message["content"] for message in turns[-1] if message["role"] == "user"]
    assert len(systems) == 1
    assert len(systems.pop().split()) == 12
    assert len(set(questions)) == 30
    assert {len(question.split()) for question in questions} == {9}
    found = rows(tmp_path / "r")
    chosen = found["phase"] == "measured"
    assert sorted(found["turn"][chosen].tolist()) == [0] * 10 + [1] * 10 + [2] * 10
    tools = found["request_class"][chosen] == "tool"
    assert 0 < tools.sum() < 20
    assert not tools[found["turn"][chosen] == 0].any()
    stage = json.loads((tmp_path / "s.json").read_text())["stages"][0]
    assert stage["throughput"]["peak_in_flight"] <= 3
    assert [(turn["turn"], turn["ok"]) for turn in stage["turns"]] == [(0, 10), (1, 10), (2, 10)]
    assert "turns" in done.stdout.lower()


def test_pauses_are_no_latency(inferometer: Call, simulator: str, tmp_path: Path) -> None:
    """Two turns with half a second in between: each turn is measured from its own send."""
    words = "--dataset-name conversation --conversation-turns 2 --conversation-input-len 8 --conversation-output-len 4"
    words += " --think-time 0.5 --max-concurrency 2 --num-prompts 4 --run-dir r --ignore-eos"
    done = inferometer("run", "--base-url", simulator, *words.split())
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "r")
    latency_ms = (found["last_token_ns"] - found["sent_ns"]) / 1e6
    assert latency_ms.max() < 400
    for conversation in range(4):
        first, second = (
            np.flatnonzero((found["conversation"] == conversation) & (found["turn"] == n))[0] for n in (0, 1)
        )
        assert found["sent_ns"][second] - found["end_ns"][first] >= 0.49e9


def test_a_conversation_that_fails_is_over_and_its_place_is_taken(
    inferometer: Call, recorder: Recorder, tmp_path: Path
) -> None:
    """The server is gone after a while: no turn follows an answer that never came, and every item has its row."""
    words = "--dataset-name conversation --conversation-turns 4 --max-concurrency 2 --num-prompts 6 --run-dir r"
    words += " --conversation-input-len 4 --conversation-output-len 2 --check-model"
    done = inferometer("run", "--base-url", recorder.url, "--model", "other", *words.split())
    assert done.returncode == 3
    found = rows(tmp_path / "r")
    assert sorted(found["index"].tolist()) == list(range(6))
    assert set(found["outcome"].tolist()) == {"wrong_model"}


def test_users_arrive_ask_and_think(inferometer: Call, simulator: str, tmp_path: Path) -> None:
    words = "--users 4 8 --spawn-rate 10 --user-think-time 0.2 --duration 2 --random-output-len 4 --ignore-eos"
    done = inferometer(
        "run", "--base-url", simulator, *words.split(), "--workers", 2, "--run-dir", "r", "--output", "s.json"
    )
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "r")
    for stage, users in ((0, 4), (1, 8)):
        mine = found["stage"] == stage
        sent_s, end_s = np.sort(found["sent_ns"][mine]) / 1e9, np.sort(found["end_ns"][mine]) / 1e9
        # user n comes after n / 10 s: never are more requests begun than users there, less those who think
        arrived = np.minimum(users, np.floor((sent_s - sent_s[0]) * 10 + 0.5) + 1)
        running = np.arange(len(sent_s)) - np.searchsorted(end_s, sent_s)
        assert (running < arrived).all()
        assert running.max() + 1 <= users
        # each round of a user takes 32 ms and 200 ms of thought
        most = sum(1 + (2 - user / 10) / 0.23 for user in range(users))
        assert 0.5 * most < mine.sum() <= most + users
    first, second = json.loads((tmp_path / "s.json").read_text())["stages"]
    assert first["load"] == {"type": "users", "users": 4, "spawn_rate_per_s": 10.0, "think": "0.2 s"}
    assert second["steady_window"]["length_s"] < second["window"]["length_s"] - 0.7
    assert "| 8 " in done.stdout


def test_the_step_at_which_it_broke_is_named(inferometer: Call, simulator: str) -> None:
    """Progressive users with a limit on the latency that the second step cannot keep."""
    words = "--users 1 2 3 --num-prompts 30 --random-output-len 4 --stop-e2el-p95 20 --run-dir r"
    done = inferometer("run", "--base-url", simulator, *words.split())
    assert done.returncode == 1
    assert "stage 1 was stopped early" in done.stderr


def test_edges_of_stages(inferometer: Call, simulator: str, tmp_path: Path) -> None:
    """A pause before each stage; what starts in the first and last half second is recorded and not counted."""
    words = "--request-rate 20 40 --arrivals constant --duration 2 --warmup-duration 0.5 --cooldown-duration 0.5"
    words += " --stage-pause 0.7 --random-output-len 2 --run-dir r --output s.json"
    done = inferometer("run", "--base-url", simulator, *words.split())
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "r")
    stages = json.loads((tmp_path / "s.json").read_text())["stages"]
    for stage, rate in zip(stages, (20, 40), strict=True):
        assert (found["stage"] == stage["stage"]).sum() == 2 * rate
        assert stage["counts"]["ok"] + stage["counts"]["left_out"] == 2 * rate
        assert abs(stage["counts"]["ok"] - rate) <= 2
    gap_ns = found["sent_ns"][found["stage"] == 1].min() - found["end_ns"][found["stage"] == 0].max()
    assert gap_ns > 0.7e9
