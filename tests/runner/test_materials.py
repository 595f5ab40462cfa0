"""Files are checked, indexed and counted before the load, and what is wrong with them ends the run there."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.runner.materials import DOCUMENT, FOLDER, clear_away, lay_ready
from inferometer.workload.dataset import Items
from inferometer.workload.tokens import PromptSpec

FIXTURES = Path(__file__).parents[1] / "fixtures" / "datasets"
SPEC = PromptSpec(kind="calibrated_text")
CLOSED = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 4}
REPLAY = {"load": {"type": "trace"}}


class Laid:
    """What came of one call in ``directory``."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.directory = directory
        self.notes: list[str] = []
        self.plan, self.materials = lay_ready(plan, SPEC, directory, self.notes)
        self.numbers = [stage.num_requests for stage in self.plan.scenario.stages]

    @property
    def prompts(self) -> list[Any]:
        assert self.materials.dataset is not None
        items = Items(self.materials.dataset)
        return [items.item(index).prompt for index in range(len(items))]

    def said(self, part: str) -> bool:
        return any(part in note for note in self.notes)


def plan_of(kind: str, path: Path | str, *stages: dict[str, Any], target: Any = None, **workload: Any) -> Plan:
    scenario = {"workload": {"type": kind, "path": str(path), **workload}, "stages": list(stages) or [CLOSED]}
    return Plan.model_validate({"target": target or {}, "scenario": scenario, "seed": 11})


def dataset(path: Path | str, *stages: dict[str, Any], **more: Any) -> Plan:
    return plan_of("dataset", path, *stages, **more)


def trace(name: str, *stages: dict[str, Any], **more: Any) -> Plan:
    return plan_of("trace", FIXTURES / name, *stages, **more)


def lines(folder: Path, count: int) -> Path:
    path = folder / "lines.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"number {number}"}) + "\n" for number in range(count)))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_other_workloads_need_nothing(run: Path) -> None:
    plan = Plan.model_validate({"target": {}, "scenario": {"workload": {"type": "random"}, "stages": [CLOSED]}})
    laid = Laid(run, plan)
    assert (laid.plan, laid.materials.prompts, laid.notes, list(run.iterdir())) == (plan, SPEC, [], [])


# --- data sets -------------------------------------------------------------------------------------------------------


def test_a_data_set_is_laid_ready_as_far_as_it_is_needed(tmp_path: Path, run: Path) -> None:
    laid = Laid(run, dataset(lines(tmp_path, 50), CLOSED | {"warmup_requests": 2}, CLOSED, shuffle=False))
    assert laid.prompts == [f"number {number}" for number in range(10)]
    assert laid.said("10 of 10 records used (not the whole file: these were enough)")
    assert laid.said("10 records do not say how long the answer may be: 128 tokens")
    assert laid.materials.prompts.note == "those of lines.jsonl, counted by the server alone"
    document = json.loads((run / DOCUMENT).read_text())
    assert (document["path"], document["report"]["kept"]) == (str(tmp_path / "lines.jsonl"), 10)


def test_a_document_that_cannot_be_written_is_one_sentence(tmp_path: Path, run: Path) -> None:
    (run / f"{DOCUMENT}.partial").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*workload\.json"):
        Laid(run, dataset(lines(tmp_path, 5)))


def test_a_path_means_the_same_from_any_folder(tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lines(tmp_path, 5).parent)
    assert Laid(run, dataset("lines.jsonl")).plan.scenario.workload.path == str(tmp_path / "lines.jsonl")


def test_a_second_time_gives_the_same(tmp_path: Path, run: Path) -> None:
    packed = tmp_path / "lines.jsonl.gz"
    packed.write_bytes(gzip.compress(lines(tmp_path, 50).read_bytes()))
    first = Laid(run, dataset(packed))
    prompts = first.prompts
    again = Laid(run, first.plan)
    assert (again.prompts, again.plan, again.notes) == (prompts, first.plan, first.notes)
    clear_away(run)
    assert [path.name for path in run.iterdir()] == [DOCUMENT]
    assert Laid(run, first.plan).prompts == prompts


def test_a_file_that_was_changed_needs_a_new_run(tmp_path: Path, run: Path) -> None:
    path = lines(tmp_path, 50)
    Laid(run, dataset(path))
    os.utime(path, (1, 1))
    Laid(run, dataset(path))
    (run / store.PLAN).touch()
    os.utime(path, (2, 2))
    with pytest.raises(UserError, match="was changed since the run began"):
        Laid(run, dataset(path))


def test_prompts_are_sent_again_where_there_are_too_few(tmp_path: Path, run: Path) -> None:
    path = lines(tmp_path, 3)
    assert Laid(run, dataset(path)).said("3 prompts for 4 requests: they are sent again, and prefix caches know them")
    with pytest.raises(UserError, match="3 prompts that can be used, and the stages send 6"):
        Laid(run, dataset(path, CLOSED | {"warmup_requests": 2}, oversample=False))
    assert not (run / FOLDER).exists()


def test_without_sending_again_the_number_must_be_known(tmp_path: Path, run: Path) -> None:
    stage = {"load": {"type": "closed", "concurrency": 1}, "duration_s": 5.0}
    with pytest.raises(UserError, match="--num-prompts"):
        Laid(run, dataset(lines(tmp_path, 3), stage, oversample=False))


def test_a_bad_line_is_named_or_counted(run: Path) -> None:
    path = FIXTURES / "custom.jsonl"
    with pytest.raises(UserError, match=r"custom\.jsonl:4: token ids, which openai-chat does not take"):
        Laid(run, dataset(path))
    assert Laid(run, dataset(path, skip_bad_lines=True)).said("1 bad ones passed over, the first at")
    ids = Laid(run, dataset(path, target={"api": "openai-completions"}, shuffle=False)).prompts
    assert ids[2] == [11, 12, 13]


def test_parts_of_messages_need_a_chat_api(run: Path) -> None:
    with pytest.raises(UserError, match=r"openai\.jsonl:3: a message of several parts"):
        Laid(run, dataset(FIXTURES / "openai.jsonl", target={"api": "openai-completions"}))


def test_models_of_records_are_told(run: Path) -> None:
    assert Laid(run, dataset(FIXTURES / "batch.jsonl")).said(
        "records that name a model of their own ask that one: m (2)"
    )


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    """A token for each word and each sign."""
    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path / "tokenizer.json")


def test_a_tokenizer_counts_and_limits(run: Path, tokenizer: str) -> None:
    path, target = FIXTURES / "sharegpt.json", {"tokenizer": tokenizer}
    laid = Laid(run, dataset(path, target=target, shuffle=False))
    assert laid.materials.dataset is not None
    items = Items(laid.materials.dataset)
    assert [(items.item(at).prompt_tokens, items.item(at).output_tokens) for at in range(3)] == [
        (24, 9),
        (6, 5),
        (2, 2),
    ]
    assert not laid.said("do not say how long")
    limited = Laid(run, dataset(path, target=target, min_prompt_tokens=4, max_prompt_tokens=20))
    assert limited.prompts == ["Größe, 大きさ, розмір?"]
    assert limited.said("1 dropped: a prompt above 20 tokens")
    with pytest.raises(UserError, match="give --tokenizer"):
        Laid(run, dataset(path, max_prompt_tokens=20))


def test_conversations_that_cannot_be_played_are_counted(tmp_path: Path, run: Path) -> None:
    path = tmp_path / "talks.jsonl"
    talks = [["user", "assistant", "user", "assistant"], ["user", "user", "assistant"]]
    rows = [{"messages": [{"role": role, "content": "x"} for role in roles]} for roles in talks]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    laid = Laid(run, dataset(path, multi_turn=True))
    assert [len(prompt) for prompt in laid.prompts] == [3]
    assert laid.said("1 dropped: user and model do not take turns")


def test_a_file_that_is_not_there(tmp_path: Path, run: Path) -> None:
    for plan in (dataset(tmp_path / "none"), plan_of("trace", tmp_path / "none", REPLAY)):
        with pytest.raises(UserError, match="no such file"):
            Laid(run, plan)
    assert not list(run.iterdir())


# --- traces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "number"),
    [
        ({"load": {"type": "trace"}}, 4),
        ({"load": {"type": "trace", "start_s": 0.25}}, 3),
        ({"load": {"type": "trace", "end_s": 0.25}}, 1),
        ({"load": {"type": "trace", "speed": 10.0}, "duration_s": 0.3}, 3),
        ({"load": {"type": "trace"}, "num_requests": 2}, 2),
        ({"load": {"type": "trace"}, "num_requests": 9}, 4),
        (CLOSED, 4),
        ({"load": {"type": "trace", "times_s": [5, 6]}}, 2),
    ],
)
def test_stages_of_a_trace_get_their_numbers(run: Path, stage: dict[str, Any], number: int) -> None:
    laid = Laid(run, trace("mooncake.jsonl", stage))
    assert laid.numbers == [number]
    assert Laid(run, laid.plan).plan == laid.plan
    assert laid.said("4 requests are in its part of the trace, and not 9") == (stage.get("num_requests") == 9)


def test_a_trace_is_described(run: Path) -> None:
    laid = Laid(run, trace("mooncake.jsonl", REPLAY, CLOSED | {"num_requests": 5}))
    assert laid.said("its times read as ms")
    assert laid.said("4 requests in 3.001 s")
    assert laid.said("answers may be shorter than the recorded ones: --ignore-eos")
    assert laid.said("behind its 4 requests the trace begins anew")
    assert not Laid(run, trace("mooncake.jsonl", REPLAY, ignore_eos=True)).said("--ignore-eos")


def test_what_is_too_long_or_of_another_model_is_left_out(run: Path) -> None:
    laid = Laid(run, trace("mooncake.jsonl", REPLAY, max_tokens=600))
    assert laid.numbers == [2]
    assert laid.said("2 dropped: longer than 600 tokens")
    assert Laid(run, trace("burstgpt.csv", REPLAY, model="GPT-4")).numbers == [1]


def test_a_window_without_requests(run: Path) -> None:
    with pytest.raises(UserError, match=r"stage 2: no request of the trace, which ends at 3\.001 s, is in its window"):
        Laid(run, trace("mooncake.jsonl", REPLAY, {"load": {"type": "trace", "start_s": 4.0}}))
