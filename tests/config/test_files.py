"""What is written is read back; what is wrong is said with file, line and the nearest key."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config import files
from inferometer.config.models import (
    ClosedLoop,
    Engine,
    Lengths,
    OpenLoop,
    Plan,
    RandomWorkload,
    Scenario,
    Slo,
    Stage,
    Target,
    Timeouts,
)
from inferometer.errors import UserError

#: PyYAML itself loses U+0085.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), max_size=12)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_nan=False)
RATES = st.one_of(POSITIVE, st.just(math.inf))
COUNTS = st.integers(1, 10**9)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
LOADS = st.one_of(
    st.builds(ClosedLoop, concurrency=COUNTS),
    st.builds(
        OpenLoop,
        rate=RATES,
        arrivals=st.sampled_from(["constant", "poisson", "gamma"]),
        burstiness=POSITIVE,
        max_in_flight=st.none() | COUNTS,
    ),
)
PLANS = st.builds(
    Plan,
    target=st.builds(
        Target,
        name=TEXT,
        model=st.none() | TEXT,
        headers=st.dictionaries(st.sampled_from(["x-team", "User-Agent"]), TEXT),
        timeouts=st.builds(Timeouts, total_s=RATES),
    ),
    scenario=st.builds(
        Scenario,
        name=TEXT,
        workload=st.builds(
            RandomWorkload,
            input_tokens=st.builds(Lengths, mean=COUNTS, std_dev=POSITIVE),
            extra_body=st.dictionaries(TEXT, JSON, max_size=2),
        ),
        stages=st.lists(
            st.builds(Stage, load=LOADS, num_requests=COUNTS, duration_s=st.none() | RATES), min_size=1
        ).map(tuple),
        slos=st.lists(st.builds(Slo, metric=st.sampled_from(["ttft", "itl"]), limit_ms=RATES)).map(tuple),
    ),
    engine=st.none() | st.builds(Engine, kind=st.sampled_from(["simulator", "llamacpp"]), profile=TEXT),
    seed=st.integers(0, 2**70),
)


@pytest.fixture(scope="module")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plans") / "plan.yaml"


@settings(deadline=None)
@given(plan=PLANS)
def test_a_plan_that_is_written_is_read_back(plan_file: Path, plan: Plan) -> None:
    plan_file.write_text(files.dump(plan), encoding="utf-8")
    assert files.read_plan(plan_file) == plan


PLAN = """\
# a plan
target:
  base_url: http://h:1
  timeouts: {total_s: 5}
scenario:
  stages:
    - load: {type: closed, concurrency: 4}
      num_requests: 9
    - load:
        type: open
        rate: .inf
      num_requests: 9
  workload:
    input_tokens: {mean: 5}
seed: 3
"""


def read(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    return files.read(path)


def test_the_example_is_a_plan(tmp_path: Path) -> None:
    document = read(tmp_path / "p.yaml", PLAN)
    assert files.read_plan(tmp_path / "p.yaml").scenario.stages[1].load == OpenLoop(rate=math.inf)
    assert document["seed"] == 3  # and only what was written, so that flags and defaults can be told apart
    assert "workers" not in document


def test_json_is_yaml(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(files.read_plan(_written(tmp_path)).model_dump_json())
    assert files.read_plan(tmp_path / "p.json") == files.read_plan(_written(tmp_path))


def _written(folder: Path) -> Path:
    (folder / "p.yaml").write_text(PLAN)
    return folder / "p.yaml"


#: What is replaced in the plan, by what, the line that is named, and what is said.
MISTAKES = [
    ("base_url", "base_ulr", 3, "unknown key 'target.base_ulr'; did you mean 'base_url'?"),
    ("total_s: 5", "totals: 5", 4, "did you mean 'total_s'?"),
    (
        "concurrency: 4",
        "concurency: 4",
        7,
        "unknown key 'scenario.stages.0.load.concurency'; did you mean 'concurrency'?",
    ),
    ("num_requests: 9\n  work", "num_request: 9\n  work", 12, "did you mean 'num_requests'?"),
    ("seed: 3", "sead: 3", 15, "unknown key 'sead'; did you mean 'seed'?"),
    ("seed: 3", "qqq: 3", 15, "unknown key 'qqq'"),
    ("concurrency: 4", "x-y: 4", 7, "unknown key 'scenario.stages.0.load.x-y'"),
    (", concurrency: 4", "", 7, "'concurrency' is missing in scenario.stages.0.load"),
    ("seed: 3", "seed: three", 15, "seed: "),
    ("rate: .inf", "rate: fast", 11, "rate: "),
    ("rate: .inf", "rate: -1", 11, "rate: "),
    ("mean: 5", "mean: 5, max: 3", 14, "the mean of 5 tokens is not between min and max"),
    ("scenario:", "scenery:", 5, "unknown key 'scenery'; did you mean 'scenario'?"),
    ("type: open", "type: several", 9, "load"),
    ("  stages:", "  stages: [", 7, "not YAML"),
    ("seed: 3", "seed: 3\n\tx: 1", 16, "not YAML"),
]


@pytest.mark.parametrize(("right", "wrong", "line", "said"), MISTAKES, ids=[mistake[1] for mistake in MISTAKES])
def test_mistakes_have_a_place(tmp_path: Path, right: str, wrong: str, line: int, said: str) -> None:
    path = tmp_path / "p.yaml"
    assert right in PLAN
    with pytest.raises(UserError) as caught:
        read(path, PLAN.replace(right, wrong))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "42\n"])
def test_a_plan_is_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"p.yaml:1: a plan is a mapping"):
        read(tmp_path / "p.yaml", text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        files.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder, not a file"):
        files.read(tmp_path)
    (tmp_path / "plan.yaml").touch()
    with pytest.raises(UserError, match=r"is a folder: if that run is to be played again, its plan is .*plan\.yaml"):
        files.read(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"target: {name: \xff}")
    with pytest.raises(UserError, match="cannot read"):
        files.read(tmp_path / "latin.yaml")


SECRETS = ("Authorization", "X-Api-Key", "api-key", "X-Auth-Token", "cookie", "Proxy-Authorization", "client-secret")


@pytest.mark.parametrize("name", SECRETS)
def test_a_written_plan_holds_no_key(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret can be named, not written: so it is in no plan, and the plan can be run again."""
    for variable in ("OPENAI_API_KEY", "MY_KEY"):
        monkeypatch.setenv(variable, "planted")
    text = PLAN.replace("base_url: http://h:1", f"headers: {{{name}: $MY_KEY, x-team: blue}}")
    read(tmp_path / "p.yaml", text)
    dumped = files.dump(files.read_plan(tmp_path / "p.yaml"))
    assert "planted" not in dumped
    assert f"{name}: $MY_KEY" in dumped
    for written in ("planted", "$planted-key", "${planted}"):
        with pytest.raises(UserError, match=rf"p.yaml:3: target.headers: .*{name}=\$VARIABLE") as caught:
            read(tmp_path / "p.yaml", text.replace("$MY_KEY", f"'{written}'"))
        assert "planted" not in str(caught.value)


@pytest.mark.parametrize("name", SECRETS)
def test_headers_of_requests_hold_no_key_either(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}=\$VARIABLE"):
        RandomWorkload(headers={name: "Bearer planted"})
    told = {name: "user-{conversation}", "X-Team": "blue"}
    assert RandomWorkload(headers=told).headers == told


def test_a_url_with_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"p.yaml:3: target.base_url: ") as caught:
        read(tmp_path / "p.yaml", PLAN.replace("http://h:1", "http://me:planted@h:1"))
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a:\n  b: 1\n  b: 2\n", "plan.yaml:3: a.b is there twice, first in line 2: leave one of them out"),
        ('{"a": [{"b": 1, "b": 2}]}', "plan.yaml:1: a.0.b is there twice"),
    ],
)
def test_of_two_values_under_one_key_none_is_lost(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        files.document(path)
    assert sentence in str(error.value)


def test_merges_may_say_the_same_twice(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("x: &x {a: 1}\ny: &y {a: 2}\nz:\n  <<: *x\n  b: 3\nw:\n  <<: [*x, *y]\n  a: 4\n")
    assert files.document(path)[0]["w"] == {"a": 4}
