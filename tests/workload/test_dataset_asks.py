"""Which record each request of a run asks, and how recorded conversations become turns."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from dataset_files import FIXTURES, write
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from inferometer.config.models import Phase, Plan
from inferometer.workload.asks import Ask, Asks, Materials
from inferometer.workload.dataset import DatasetSpec, prepare
from inferometer.workload.dataset_asks import asks, check_turns, items_needed
from inferometer.workload.dataset_formats import Item
from inferometer.workload.tally import DroppedError
from inferometer.workload.tokens import PromptSpec

SPEC = PromptSpec(kind="calibrated_text", overhead_tokens=3)


def plan_of(path: Path, *stages: dict[str, Any], tokenizer: str | None = None, **workload: Any) -> Plan:
    load = {"load": {"type": "closed", "concurrency": 1}}
    scenario = {
        "workload": {"type": "dataset", "path": str(path), **workload},
        "stages": [load | stage for stage in stages or ({"num_requests": 1},)],
    }
    return Plan.model_validate({"target": {"tokenizer": tokenizer}, "scenario": scenario, "seed": 5})


def asks_of(plan: Plan, scratch: Path, **spec: Any) -> Asks:
    scratch.mkdir(exist_ok=True)
    dataset = prepare(Path(plan.scenario.workload.path), msgspec.convert(spec, DatasetSpec), scratch)
    return asks(plan, Materials(prompts=SPEC, dataset=dataset))


def numbered(folder: Path, count: int) -> Path:
    return write(folder, "".join(json.dumps({"prompt": str(number)}) + "\n" for number in range(count)))


def order(plan: Plan, ask: Asks) -> list[list[str]]:
    """What each stage asks: its warm-up, then what counts."""
    return [
        [
            *(str(ask(number, Phase.WARMUP, index).prompt) for index in range(stage.warmup_requests)),
            *(str(ask(number, Phase.MEASURED, index).prompt) for index in range(stage.num_requests or 0)),
        ]
        for number, stage in enumerate(plan.scenario.stages)
    ]


STAGE = st.fixed_dictionaries(
    {"num_requests": st.integers(1, 9), "warmup_requests": st.integers(0, 4), "same_prompts": st.booleans()}
)


@settings(deadline=None, max_examples=40)
@given(st.lists(STAGE, min_size=1, max_size=5), st.integers(1, 30))
def test_nothing_is_sent_twice_before_everything_was_sent(stages: list[dict[str, Any]], count: int) -> None:
    with TemporaryDirectory() as folder:
        plan = plan_of(numbered(Path(folder), count), *stages)
        found = order(plan, asks_of(plan, Path(folder) / "scratch"))
    own = [asked for asked, stage in zip(found, stages, strict=True) if not stage["same_prompts"]]
    if not any(stage["same_prompts"] for stage in stages):
        times = Counter(prompt for asked in own for prompt in asked)
        assert max(times.values()) - min(times.get(str(n), 0) for n in range(count)) <= 1
        assert times.total() == items_needed(plan.scenario.stages)
    elif (items_needed(plan.scenario.stages) or 0) <= count:
        firsts = found[:1] + [
            asked for asked, stage in zip(found[1:], stages[1:], strict=True) if not stage["same_prompts"]
        ]
        assert max(Counter(prompt for asked in firsts for prompt in asked).values()) == 1


def test_a_stage_may_ask_what_the_one_before_asked(tmp_path: Path) -> None:
    stages = ({"num_requests": 3}, {"num_requests": 5, "warmup_requests": 2, "same_prompts": True}, {"num_requests": 2})
    plan = plan_of(numbered(tmp_path, 20), *stages)
    assert order(plan, asks_of(plan, tmp_path / "s")) == [
        ["2", "3", "4"],
        ["0", "1", "2", "3", "4", "5", "6"],
        ["7", "8"],
    ]
    assert items_needed(plan.scenario.stages) == 9


def test_stages_that_end_by_time_begin_far_apart(tmp_path: Path) -> None:
    plan = plan_of(numbered(tmp_path, 30), {"duration_s": 5.0}, {"num_requests": 2}, {"duration_s": 1.0})
    ask = asks_of(plan, tmp_path / "s")
    assert items_needed(plan.scenario.stages) is None
    assert [ask(stage, Phase.MEASURED, 0).prompt for stage in range(3)] == ["0", "10", "20"]
    assert ask(2, Phase.MEASURED, 12).prompt == "2"


def test_the_order_of_a_seed_is_the_same_for_any_number(tmp_path: Path) -> None:
    plan = plan_of(numbered(tmp_path, 50), {"num_requests": 20})
    few = order(plan, asks_of(plan, tmp_path / "few", shuffle_seed=5, limit=20))
    all_ = order(plan, asks_of(plan, tmp_path / "all", shuffle_seed=5))
    assert few == all_
    assert few != order(plan, asks_of(plan, tmp_path / "other", shuffle_seed=6))


def test_lengths_and_what_a_record_sets_for_itself(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        '{"prompt": "a", "output_tokens": 7, "temperature": 0.5, "extra_body": {"min_p": 0.1, "stream": false}}\n'
        '{"prompt": "b"}\n{"prompt": [4, 5, 6]}\n',
    )
    plan = plan_of(file, default_output_tokens=33)
    ask = asks_of(plan, tmp_path / "s")
    assert [ask(0, Phase.MEASURED, index) for index in range(3)] == [
        Ask("a", None, 7, overrides={"temperature": 0.5, "min_p": 0.1}),
        Ask("b", None, 33),
        Ask([4, 5, 6], 3, 33),
    ]
    fixed = asks_of(plan_of(file, output_tokens=9), tmp_path / "s")
    assert [fixed(0, Phase.MEASURED, index).output_tokens for index in range(3)] == [9, 9, 9]


def test_what_belongs_into_the_record_is_not_taken_from_its_extra_body(tmp_path: Path) -> None:
    from inferometer.errors import UserError

    file = write(tmp_path, '{"prompt": "a", "extra_body": {"max_tokens": 5}}\n')
    with pytest.raises(UserError, match="'extra_body' has 'max_tokens'"):
        asks_of(plan_of(file), tmp_path / "s")


# --- conversations ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token for each word and each sign."""
    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return str(path)


def conversations(ask: Asks, count: int) -> list[Ask]:
    return [ask(0, Phase.MEASURED, index) for index in range(count)]


def test_conversations_become_turns(tmp_path: Path, tokenizer: str) -> None:
    plan = plan_of(FIXTURES / "sharegpt.json", tokenizer=tokenizer, multi_turn=True, think={"mean_s": 0.25})
    river, size, brief = conversations(asks_of(plan, tmp_path / "s", whole_conversation=True), 3)
    assert [message["content"][:7] for message in river.prompt] == ["How do "]
    assert [(turn.content, turn.tokens, turn.pause_s) for turn in river.later] == [("And lakes?", 3, 0.25)]
    assert (river.output_tokens, river.later[0].output_tokens) == (9, 3)
    assert (river.prompt_tokens, size.prompt_tokens, brief.prompt_tokens) == (27, 9, 8)
    assert [message["role"] for message in brief.prompt] == ["system", "user"]
    assert (size.later, brief.later) == ((), ())
    assert [one.conversation for one in (river, size, brief)] == [0, 1, 2]


def test_without_a_tokenizer_nothing_is_counted(tmp_path: Path) -> None:
    plan = plan_of(FIXTURES / "sharegpt.json", multi_turn=True, default_output_tokens=5)
    river = conversations(asks_of(plan, tmp_path / "s", whole_conversation=True), 1)[0]
    assert (river.prompt_tokens, river.output_tokens) == (None, 5)
    assert [(turn.tokens, turn.output_tokens) for turn in river.later] == [(None, 5)]
    fixed = asks_of(plan_of(FIXTURES / "sharegpt.json", multi_turn=True, output_tokens=2), tmp_path / "s")
    assert conversations(fixed, 1)[0].output_tokens == 2


def said(*roles: str, content: Any = "x", **more: Any) -> Item:
    return Item([{"role": role, "content": content, **more} for role in roles], 1)


def test_what_can_be_played() -> None:
    for item in (said("user"), said("system", "developer", "user", "assistant", "user"), Item("text", 1), Item([1], 1)):
        check_turns(item)
    assert check_turns(said("user", content=[{"type": "text", "text": "x"}])) is None


@pytest.mark.parametrize(
    "item",
    [
        said("user", "user"),
        said("user", "assistant"),
        said("assistant", "user", "assistant"),
        said("system"),
        said("user", "assistant", "tool"),
        said("user", "assistant", "user", content=[{"type": "text", "text": "x"}]),
        said("user", "assistant", "user", tool_calls=[{}]),
        said("user", "assistant", "user", content=None),
    ],
)
def test_what_cannot_be_played_is_dropped(item: Item) -> None:
    with pytest.raises(DroppedError):
        check_turns(item)


def test_every_process_asks_the_same(tmp_path: Path) -> None:
    """Nothing in a request depends on what was asked before it."""
    plan = plan_of(FIXTURES / "sharegpt.json", multi_turn=True, think={"mean_s": 1.0, "distribution": "exponential"})
    forward, backward = (asks_of(plan, tmp_path / "s", whole_conversation=True) for _ in range(2))
    indices = range(7)
    assert [forward(0, Phase.MEASURED, index) for index in indices] == [
        backward(0, Phase.MEASURED, index) for index in reversed(indices)
    ][::-1]
