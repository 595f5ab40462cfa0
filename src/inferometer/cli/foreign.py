"""What a run is asked to do, whichever way it is said: the catalog, other tools' files, command lines, environments."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inferometer.cli import Parser
from inferometer.cli.export import save_flags
from inferometer.config import files
from inferometer.config.catalog import mlperf
from inferometer.config.catalog.targets import partial_plan
from inferometer.config.flags import add_flags, merge, plan_from_flags
from inferometer.config.foreign import detect, vllm_args
from inferometer.config.foreign.origin import Origin, of_file
from inferometer.config.foreign.substitution import expanded
from inferometer.config.foreign.translated import NotUnderstood, Translated, Where
from inferometer.config.models import Plan
from inferometer.errors import UserError

#: A warning about an address that was left out, because its variables are not set.
_ADDRESS_GONE = re.compile(r"(base_url|base-url|target): left out")
#: Formats of one workload: the whole file is kept with its run.
ORIGINS = ("inference-perf", "guidellm", "vllm-benchmark", "inferencemax")
#: Flags of this module that are given even if they are not: their values then.
DEFAULTS: dict[str, Any] = {
    "target": None,
    "scenario": None,
    "config": None,
    "targets_file": None,
    "scenarios_file": None,
    "format": None,
    "vllm_args": None,
    "num_requests": None,
    "concurrency": None,
    "max_tokens": None,
    "mlperf": None,
}


class Planned(NamedTuple):
    """A plan, the name of its run among several, and the part of another tool's file that is kept with it."""

    plan: Plan
    name: str = ""
    origin: Origin | None = None


class Asked(NamedTuple):
    """Plans to be played one after the other, what should be said before, and the world that they are from."""

    plans: tuple[Planned, ...]
    remarks: tuple[str, ...] = ()
    world: str = detect.OURS
    practising: bool = False


class Source(NamedTuple):
    """A document of another tool, or of our own."""

    document: dict[str, Any]
    where: Where
    format: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that choose what is run."""
    add = parser.add_argument
    add(
        "--target",
        nargs="+",
        metavar="NAME",
        help="a target of the catalog or of --targets-file; see `inferometer targets`. Several: one after the other",
    )
    add("--scenario", metavar="NAME", help="a scenario of the catalog or of --scenarios-file: `inferometer scenarios`")
    add(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        action="append",
        help="a plan as YAML or JSON, or a configuration of another tool; flags win over it",
    )
    add("--targets-file", type=Path, metavar="FILE", help="a targets.yaml of the inference benchmarking suite")
    add("--scenarios-file", type=Path, metavar="FILE", help="a test_scenarios.yaml of it")
    names = ", ".join((detect.OURS, *detect.FORMATS))
    add("--format", metavar="NAME", help=f"whose configuration it is, if its content does not tell: {names}")
    add("--vllm-args", metavar="WORDS", help="the flags of a `vllm bench serve` command line, or all of it")
    add("--num-requests", type=int, metavar="N", help="requests of the whole scenario, or --num-prompts without one")
    add("--concurrency", type=int, metavar="C", help="the concurrency, or number of users, of every stage")
    add("--max-tokens", type=int, metavar="N", help="output tokens of every request: --random-output-len")
    add(
        "--mlperf",
        metavar="MODEL",
        help="thresholds of MLPerf Inference for a model, such as llama3.1-8b or llama3.1-8b/interactive",
    )


def requested(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Asked:
    """The plans that the flags ask for. Raises ``UserError`` for what cannot be."""
    from inferometer.cli import pipeline, suites

    given, remarks = _expanded(vars(options))
    paths = options.config or pipeline.config(options, environment)
    sources = [_source(path, options.format, environment) for path in paths]
    world = _world(options, sources, given, environment)
    if world == "suite":
        asked = suites.requested(options, given, sources, environment)
    elif world == detect.OURS:
        asked = _ours(options, given, sources)
    else:
        asked = _translated(given, world, sources, environment)
    limits = mlperf.thresholds(options.mlperf) if options.mlperf else []
    plans = tuple(one._replace(plan=_limited(one.plan, limits)) for one in asked.plans)
    for one in plans:
        if not one.plan.target.base_url and one.plan.engine is None:
            reason = next((f" ({remark})" for remark in asked.remarks if _ADDRESS_GONE.search(remark)), "")
            raise UserError(f"no server to measure: give --base-url, or --target simulator to practise{reason}")
    return asked._replace(plans=plans, remarks=(*remarks, *asked.remarks))


def resolved(given: dict[str, Any], base: dict[str, Any]) -> Plan:
    """A plan of ``base`` and the flags; a server that is named needs no engine."""
    plan = plan_from_flags(given, base)
    return plan.model_copy(update={"engine": None}) if "target.base_url" in given else plan


def plain_counts(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """The suite's flags for numbers as our own, where no scenario of the suite takes them."""
    counts = {
        "num_prompts": options.num_requests,
        "max_concurrency": [options.concurrency] if options.concurrency else None,
        "scenario.workload.output_tokens.mean": [options.max_tokens] if options.max_tokens else None,
    }
    return {name: value for name, value in counts.items() if value is not None} | given


def said(strange: NotUnderstood, where: Where) -> str:
    """A key that was not understood, as a warning."""
    return f"warning: {where.path}:{strange.line}: {strange.key}: {strange.sentence}"


def _expanded(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The flags with those of ``--vllm-args`` below them, and what should be said of the latter."""
    if given["vllm_args"] is None:
        return given, []
    found = vllm_args.words(given["vllm_args"])
    parser = Parser(prog="inferometer run", allow_abbrev=False, argument_default=argparse.SUPPRESS)
    add_flags(parser)
    save_flags(parser)
    named = vars(parser.parse_args(list(found.words)))
    remarks = [f"warning: --vllm-args: {one.key} {one.sentence}" for one in found.not_understood]
    return named | given, remarks + [f"note: --vllm-args: {note}" for note in found.notes]


def _source(path: Path, name: str | None, environment: Mapping[str, str]) -> Source:
    document, lines, text = files.document(path, lambda text: expanded(text, environment))
    return Source(document, Where(path, lines, text), detect.detect(document, name))


def _world(
    options: argparse.Namespace, sources: list[Source], given: dict[str, Any], environment: Mapping[str, str]
) -> str:
    """Whose way of asking this is."""
    from inferometer.cli import suites

    worlds = {source.format for source in sources}
    if len(sources) > 1 and worlds != {"suite"}:
        raise UserError("-c twice is for targets.yaml and test_scenarios.yaml; run other plans one after the other")
    if worlds - {detect.OURS}:
        return worlds.pop()
    if suites.wanted(options):
        return "suite"
    if sources or options.target or "target.base_url" in given:
        return detect.OURS
    if options.format is not None:
        return detect.detect({}, options.format)
    return detect.from_environment(environment) or detect.OURS


def _ours(options: argparse.Namespace, given: dict[str, Any], sources: list[Source]) -> Asked:
    given = plain_counts(options, given)
    base: dict[str, Any] = files.read(sources[0].where.path) if sources else {}
    practising = not sources and not options.target and "target.base_url" not in given
    names = options.target or (["simulator"] if practising else [None])
    plans = (Planned(resolved(given, merge(base, partial_plan(name)) if name else base), name or "") for name in names)
    return Asked(tuple(plans), practising=practising)


def _translated(given: dict[str, Any], world: str, sources: list[Source], environment: Mapping[str, str]) -> Asked:
    """The plans of a document, or of the environment alone."""
    source = sources[0] if sources else Source({}, Where(Path("environment"), {}), world)
    found: Translated = detect.FORMATS[world].translate(source.document, source.where, environment)
    if not found.plans:
        raise UserError(f"{source.where.path}: it has nothing to run")
    names = found.names or tuple(f"{number}" for number in range(1, len(found.plans) + 1))
    alone = source.format in ORIGINS and not found.origins
    whole = of_file(world, source.document, source.where, environment) if alone else None
    origins = found.origins or [whole] * len(names)
    kept = zip(found.plans, names, origins, strict=True)
    plans = (Planned(resolved(given, plan), name, origin) for plan, name, origin in kept)
    told = f"{source.where.path}: read as {world}"
    remarks = (told, *(said(one, source.where) for one in found.not_understood), *(f"note: {n}" for n in found.notes))
    return Asked(tuple(plans), remarks, world)


def _limited(plan: Plan, limits: list[str]) -> Plan:
    if not limits:
        return plan
    scenario = plan.scenario.model_copy(update={"thresholds": (*plan.scenario.thresholds, *limits)})
    return plan.model_copy(update={"scenario": scenario})
