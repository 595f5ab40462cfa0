"""``targets.yaml`` and ``test_scenarios.yaml`` of the suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from inferometer.config import files
from inferometer.config.catalog.targets import servers
from inferometer.config.flags import plan_from_flags
from inferometer.config.foreign import suite
from inferometer.config.foreign.detect import detect
from inferometer.config.foreign.translated import Where
from inferometer.errors import UserError

TARGETS = """\
targets:
  lab:
    name: "Lab A"
    base_url: "http://10.0.0.7:8000/ns/model/v1/"
    model: "org/one"
    max_tokens: 64
    backend: "vLLM + XFormers"
    accelerator: "A100"
    prefix_caching: true
    timeout: 600
    api_key_env: "LAB_KEY"
    zonne: "here"
    supported_models:
      - org/one   # the usual one
      - org/two
  chat:
    base_url: "https://api.openai.com"
    model: "gpt-4-turbo-preview"
    backend: "OpenAI API"
defaults: {timeout: 300, connect_timeout: 30, read_timeout: 20, temperature: 0.7, top_p: 0.9, stream: false}
pasted:
  base_url: "http://pasted:1"
  model: "m"
"""
CATALOG = Where(Path("catalog"), {})


@pytest.fixture
def source(tmp_path: Path) -> tuple[dict[str, Any], Where]:
    path = tmp_path / "targets.yaml"
    path.write_text(TARGETS)
    document, lines, text = files.document(path)
    return document, Where(path, lines, text)


def test_a_target_becomes_the_target_of_a_plan(source: tuple[dict[str, Any], Where]) -> None:
    found = suite.server("lab", *source, {})
    plan = plan_from_flags({}, suite.plan(found, None))
    target = plan.target
    assert (target.name, target.base_url, target.model) == ("lab", "http://10.0.0.7:8000/ns/model", "org/one")
    assert (target.api, target.api_key_env) == ("openai-completions", "LAB_KEY")
    assert (target.timeouts.total_s, target.timeouts.first_token_s) == (600, 600)
    assert (target.timeouts.connect_s, target.timeouts.between_tokens_s) == (30, 20)
    assert plan.scenario.workload.extra_body == {"temperature": 0.7, "top_p": 0.9}
    assert target.facts["gpu"] == "A100"
    assert target.facts["prefix_caching"] == "yes"
    assert found.models == ("org/one", "org/two")
    assert found.most_output_tokens == 64


def test_what_means_nothing_is_named_with_its_line(source: tuple[dict[str, Any], Where]) -> None:
    found = suite.server("lab", *source, {})
    (strange,) = found.not_understood
    assert (strange.key, strange.line) == ("targets.lab.zonne", 12)
    assert "did you mean 'zone'" in strange.sentence
    assert any("/v1 is part of the API" in note for note in found.notes)


def test_streams_are_left_out_for_a_target_that_says_so_itself(source: tuple[dict[str, Any], Where]) -> None:
    document, where = source
    asked = suite.server("lab", document, where, {})
    assert "stream" not in asked.workload
    assert any("stream: false of the defaults is not followed" in note for note in asked.notes)
    own = {**document["targets"]["lab"], "stream": False}
    told = suite.server("lab", document | {"targets": {"lab": own}}, where, {})
    assert told.workload["stream"] is False
    assert not any("stream" in note for note in told.notes)


def test_a_server_that_only_chats_is_asked_to_chat(source: tuple[dict[str, Any], Where]) -> None:
    assert suite.server("chat", *source, {}).target["api"] == "openai-chat"


def test_a_target_pasted_at_the_top_is_one(source: tuple[dict[str, Any], Where]) -> None:
    found = suite.server("pasted", *source, {})
    assert found.target["base_url"] == "http://pasted:1"
    assert any("stands at the top" in note for note in found.notes)
    assert not suite.top_level(*source)


def test_another_address_wins(source: tuple[dict[str, Any], Where]) -> None:
    assert suite.server("lab", *source, {}, "http://here:9").target["base_url"] == "http://here:9"


def test_a_file_of_both_is_every_target_with_every_scenario(source: tuple[dict[str, Any], Where]) -> None:
    document, where = source
    both = document | {"scenarios": {"a": {"num_requests": 2}, "b": {"num_users": [1, 2], "step_duration": 1}}}
    found = suite.translate(both, where, {})
    assert found.names == tuple(f"{name}-{target}" for target in ("lab", "chat", "pasted") for name in ("a", "b"))
    plans = [plan_from_flags({}, plan) for plan in found.plans]
    assert [len(plan.scenario.stages) for plan in plans] == [1, 2] * 3


def test_scenarios_alone_are_plans_without_a_server() -> None:
    found = suite.translate({"scenarios": {"a": {"num_requests": 2}}}, CATALOG, {})
    assert [sorted(plan) for plan in found.plans] == [["scenario"]]


@pytest.mark.parametrize("name", servers()["targets"])
def test_every_server_of_the_catalog_has_its_address_from_the_environment(name: str) -> None:
    variable = f"{name.upper().replace('-', '_')}_URL"
    found = suite.server(name, servers(), CATALOG, {variable: "http://mine:1"})
    assert found.target["base_url"] == "http://mine:1"
    assert not found.not_understood
    assert plan_from_flags({}, suite.plan(found, None)).target.name == name


def test_the_catalog_has_the_eleven_kinds_and_no_address_of_somebody() -> None:
    document = servers()
    assert len(document["targets"]) == 11
    for name in ("ollama-local", "lmstudio-local", "llamacpp-local"):
        assert suite.server(name, document, CATALOG, {}).target["base_url"].startswith("http://localhost:")
    with pytest.raises(UserError, match="set GKE_T4_URL to http"):
        suite.server("gke-t4", document, CATALOG, {})


@pytest.mark.parametrize(
    ("text", "name", "sentence"),
    [
        ("targets: {a: {model: m}}", "a", r"x.yaml:1: targets.a.base_url: the address"),
        ("targets: {a: {base_url: 5, model: m}}", "a", "base_url: a text is needed, not 5"),
        ("targets: {a: {base_url: u, model: m, timeout: soon}}", "a", "timeout: a number is needed, not 'soon'"),
        ("targets: {a: {base_url: u, model: m, supported_models: [1]}}", "a", "a list of names"),
        ("targets: {lab: {base_url: u, model: m}}", "lap", "no target named 'lap'; did you mean 'lab'"),
        ("targets: {a: 5}", "a", "targets.a: a mapping is needed, not 5"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, text: str, name: str, sentence: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    document, lines, _ = files.document(path)
    with pytest.raises(UserError, match=sentence):
        suite.server(name, document, Where(path, lines), {})


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        (TARGETS, "suite"),
        ("scenarios: {a: {num_requests: 1}}", "suite"),
        ("scenarios: {a: {num_users: [1]}}", "suite"),
        ("mine: {base_url: u, model: m}", "suite"),
        ("target: {base_url: u, model: m}", "inferometer"),
        ("scenario: {stages: []}", "inferometer"),
        ("nothing: 1", "inferometer"),
    ],
)
def test_content_tells(text: str, format_: str) -> None:
    assert detect(yaml.safe_load(text)) == format_


def test_a_format_that_nobody_has() -> None:
    with pytest.raises(UserError, match="did you mean 'suite'"):
        detect({}, "suit")
