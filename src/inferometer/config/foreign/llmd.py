"""The ``config.yaml`` of llm-d's ``run_only.sh`` -> a plan for each of its workloads, in their order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import Field

from inferometer.config.foreign import guidellm, inference_perf, inferencemax
from inferometer.config.foreign.checked import Reader, Section, reader
from inferometer.config.foreign.origin import Origin, without_secrets
from inferometer.config.foreign.substitution import substituted
from inferometer.config.foreign.translated import Translated, Where, nearest

_HUB = "https://huggingface.co/datasets/"
_OF_THE_CLUSTER = {
    "endpoint": {"hf_token_secret": "the token of the hub is taken from HF_TOKEN"},
    "control": {
        "work_dir": "results go below results/, or where --run-dir says",
        "kubectl": "the cluster is not asked for anything",
    },
    "harness": {"results_pvc": "results go to the run directory, on no volume"},
}


class Endpoint(Section):
    """The stack."""

    stack_name: str | None = None
    model: str | None = None
    namespace: str | None = None
    base_url: str | None = None
    hf_token_secret: str | None = None


class Control(Section):
    """How the script works."""

    work_dir: str | None = None
    kubectl: str | None = None


class Harness(Section):
    """Which tool runs, and in what."""

    name: str
    results_pvc: str | None = None
    namespace: str | None = None
    parallelism: int | None = Field(None, ge=1)
    wait_timeout: float | None = Field(None, ge=0)
    image: str | None = None
    dataset_url: str | None = None


class Variable(Section):
    """A variable of the harness pod."""

    name: str
    value: str | None = None
    valueFrom: Any = None  # noqa: N815 (their key)


class Description(Section):
    """What the run is about."""

    text: str | None = None
    keywords: list[str] | None = None


class Config(Section):
    """The whole file."""

    endpoint: Endpoint
    control: Control | None = None
    harness: Harness
    env: list[Variable] | None = None
    workload: dict[str, dict[str, Any]] = Field(min_length=1)
    hooks: Any = None
    description: Description | None = None


def looks_like(document: Mapping[str, Any]) -> bool:
    """An endpoint, and a harness or its workloads."""
    return isinstance(document.get("endpoint"), Mapping) and bool({"harness", "workload"} & document.keys())


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """The plans of all workloads, named like them. They run from this machine, without pods and volumes."""
    filled = substituted(document, where, environment)
    read = reader(where)
    read.ignored.extend(filled.left_out)
    config = read.read(Config, filled.document)
    make = _HARNESSES.get(config.harness.name)
    if make is None:
        near = nearest(config.harness.name, _HARNESSES) or f"; known are {', '.join(_HARNESSES)}"
        raise where.wrong(("harness", "name"), f"{config.harness.name!r} is no harness whose workloads are known{near}")
    plans, names, origins = [], [], []
    for name, workload in config.workload.items():
        part = Reader(where, ("workload", name), read.ignored, read.notes)
        made = make(_with_dataset(workload, config.harness), part, environment)
        plans += [_of_the_stack(plan, config, name) for plan in made]
        names += [name] if len(made) == 1 else [f"{name}-{number + 1}" for number in range(len(made))]
        origins += [_origin(config, name, where)] * len(made)
    _say(config, plans, read)
    return Translated(tuple(plans), tuple(read.ignored), tuple(read.notes), tuple(names), tuple(origins))


def _origin(config: Config, name: str, where: Where) -> Origin:
    """One workload as it stands in the file."""
    return Origin(
        format="llm-d",
        file=where.path.name,
        harness=config.harness.name,
        workload=name,
        stack=config.endpoint.stack_name or "",
        document=without_secrets(config.workload[name]),
    )


def _of_the_stack(plan: dict[str, Any], config: Config, name: str) -> dict[str, Any]:
    """A workload's plan with what the file says of all: the stack, and over how many processes the load is split."""
    endpoint, harness = config.endpoint, config.harness
    target: dict[str, Any] = {"name": endpoint.stack_name} if endpoint.stack_name else {}
    target |= {"base_url": inference_perf.address(endpoint.base_url)} if endpoint.base_url else {}
    target |= {"model": endpoint.model} if endpoint.model else {}
    target |= plan["target"]
    facts = {"harness": harness.name, "namespace": endpoint.namespace, "image": harness.image}
    if config.description is not None:
        facts |= {"description": config.description.text, "keywords": ", ".join(config.description.keywords or ())}
    target["facts"] = {fact: value for fact, value in facts.items() if value}
    workers = {"workers": harness.parallelism} if harness.parallelism else {}
    return plan | {"target": target, "scenario": plan["scenario"] | {"name": name}} | workers


def _say(config: Config, plans: list[dict[str, Any]], reader: Reader) -> None:
    """What belongs to the cluster and means nothing here, and what is read in another way."""
    pod = "there is no pod: the load comes from this machine"
    for name, sentences in _OF_THE_CLUSTER.items():
        reader.ignore_given(getattr(config, name), (name,), sentences)
    if config.hooks is not None:
        reader.ignore(("hooks",), "no commands of a file are run: run them before and after")
    if config.env:
        names = ", ".join(variable.name for variable in config.env)
        reader.ignore(("env",), f"{pod}, whose environment has {names} if you set it")
    if (config.harness.parallelism or 1) > 1:
        reader.note(
            f"harness.parallelism: {config.harness.parallelism} processes share the load that a workload says, and "
            "there is one report"
        )
    limit_s = config.harness.wait_timeout or 0
    for plan in plans:
        planned_s = sum(
            (stage.get("duration_s") or 0) + (stage.get("pause_s") or 0) for stage in plan["scenario"]["stages"]
        )
        if limit_s and planned_s > limit_s:
            sentence = f"{plan['scenario']['name']} lasts {planned_s:g} s, and is not cut off after {limit_s:g} s"
            reader.ignore(("harness", "wait_timeout"), sentence)


def _with_dataset(workload: Mapping[str, Any], harness: Harness) -> Mapping[str, Any]:
    """The workload with the file of ``dataset_url`` where it names the copy that the pod would have downloaded."""
    url = harness.dataset_url or "none"
    if not url.startswith(_HUB) or "/resolve/" not in url:
        return workload
    dataset, _, file = url.removeprefix(_HUB).partition("/resolve/")
    source = f"hf://{dataset}/{file.partition('/')[2]}"
    name = PurePosixPath(source).name
    return {key: _replaced(part, name, source) for key, part in workload.items()}


def _replaced(value: Any, name: str, source: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(part, name, source) for key, part in value.items()}
    return source if isinstance(value, str) and "/" in value and PurePosixPath(value).name == name else value


def _inference_perf(
    workload: Mapping[str, Any], reader: Reader, environment: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [inference_perf.plan_of(workload, reader, environment)]


def _flags(workload: Mapping[str, Any], reader: Reader, _environment: Mapping[str, str]) -> list[dict[str, Any]]:
    return [inferencemax.plan_of(workload, reader)]


_HARNESSES: dict[str, Callable[[Mapping[str, Any], Reader, Mapping[str, str]], list[dict[str, Any]]]] = {
    "inference-perf": _inference_perf,
    "guidellm": guidellm.plans_of,
    "vllm-benchmark": _flags,
    "inferencemax": _flags,
}
