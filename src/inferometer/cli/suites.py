"""Targets with scenarios, from the catalog or from files of the suite: which are meant, and a plan for each run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.cli import foreign
from inferometer.cli.foreign import Asked, Planned, Source
from inferometer.config import files
from inferometer.config.catalog.scenarios import scenarios
from inferometer.config.catalog.targets import catalog, partial_plan, servers
from inferometer.config.flags import merge
from inferometer.config.foreign import suite, suite_scenarios
from inferometer.config.foreign.suite import Server
from inferometer.config.foreign.suite_scenarios import Read
from inferometer.config.foreign.tables import Table
from inferometer.config.foreign.translated import Where, nearest
from inferometer.config.models import Asking
from inferometer.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

CATALOG = Where(Path("catalog"), {})
#: Flags that put a load of their own in place of a scenario's.
_LOAD_FLAGS = {"users", "duration", "request_rate", "max_concurrency", "num_prompts"}
#: The suite's own files, which are read where they are for names that they have.
TARGETS_FILE, SCENARIOS_FILE = Path("config/targets.yaml"), Path("config/test_scenarios.yaml")


def wanted(options: argparse.Namespace) -> bool:
    """Whether the flags speak of the suite's targets or scenarios."""
    of_catalog = any(name in servers()["targets"] for name in options.target or ())
    return bool(options.scenario or options.targets_file or options.scenarios_file or of_catalog or _usual(options))


def requested(
    options: argparse.Namespace, given: dict[str, Any], sources: list[Source], environment: Mapping[str, str]
) -> Asked:
    """Every target that is meant, with the scenario that is meant, once for each model if all are asked for."""
    found = [*sources, *_named(options.targets_file), *_named(options.scenarios_file), *_usual(options)]
    remarks = [foreign.said(one, source.where) for source in found for one in suite.top_level(*source[:2])]
    remarks = [f"{source.where.path}: read as suite" for source in found] + remarks
    scenario = _scenario_name(options, found)
    each_model = scenario is not None and given.get("target.all_models")
    given = {name: value for name, value in given.items() if not (each_model and name == "target.all_models")}
    plans: list[Planned] = []
    for name in _target_names(options, given, found):
        server, base = _server(name, given, found, environment)
        read = _read(scenario, options, found, server) if scenario else None
        models = _models(server, given) if each_model else [None]
        numbers = given if read and "plan" not in _form(scenario, found) else foreign.plain_counts(options, given)
        for model in models:
            label = "-".join(filter(None, (server.name, model)))
            partial = merge(base, suite.plan(server, read, model)) if not base else _over(base, server, read)
            plan = foreign.resolved(numbers, _with_plan(partial, scenario, found))
            plans.append(Planned(plan, label))
        told = read.notes if read and not _LOAD_FLAGS & given.keys() else ()
        remarks += [f"note: {note}" for note in (*server.notes, *told)]
        remarks += [foreign.said(one, _where(found, "targets", name)) for one in server.not_understood]
        remarks += [
            foreign.said(one, _where(found, "scenarios", scenario)) for one in (read.not_understood if read else ())
        ]
    return Asked(tuple(plans), tuple(dict.fromkeys(remarks)), "suite")


def _named(path: Path | None) -> list[Source]:
    if path is None:
        return []
    document, lines, text = files.document(path)
    return [Source(document, Where(path, lines, text), "suite")]


def _usual(options: argparse.Namespace) -> list[Source]:
    """The files where the suite has them, as far as no flag names others and they have a name that is asked for.

    Without a name they are not read: whoever measures beside a file of that name need not have one of the suite's.
    """
    if options.config:
        return []
    asked = [
        ("targets", TARGETS_FILE, options.targets_file, options.target),
        ("scenarios", SCENARIOS_FILE, options.scenarios_file, [options.scenario] if options.scenario else None),
    ]
    wanted = [(kind, path, names) for kind, path, other, names in asked if names and not other]
    found = [(kind, source, names) for kind, path, names in wanted for source in _there(path)]
    return [source for kind, source, names in found if any(name in _names(source, kind) for name in names)]


def _there(path: Path) -> list[Source]:
    return [one for one in _named(path) if suite.looks_like(one.document)] if path.is_file() else []


def _where(found: list[Source], kind: str, name: str | None) -> Where:
    """The file that a target or a scenario is from."""
    return next((one.where for one in found if name in _names(one, kind)), CATALOG)


def _names(source: Source, kind: str) -> list[str]:
    if kind == "targets":
        return list(suite.targets(source.document, source.where))
    return list(Table(source.document, (), source.where).table(kind).values)


def _scenario_name(options: argparse.Namespace, found: list[Source]) -> str | None:
    names = [name for source in found for name in _names(source, "scenarios")]
    if options.scenario or not names:
        return str(options.scenario) if options.scenario else None
    if len(names) > 1:
        raise UserError(f"which scenario is meant? give --scenario: {', '.join(names)}")
    return str(names[0])


def _target_names(options: argparse.Namespace, given: dict[str, Any], found: list[Source]) -> list[str | None]:
    names = [name for source in found for name in _names(source, "targets")]
    if options.target:
        return list(options.target)
    if "target.base_url" in given:
        return [None]
    if len(names) > 1:
        raise UserError(f"which target is meant? give --target: {', '.join(names)}")
    if not names:
        raise UserError("no server to measure: give --target or --base-url; `inferometer targets` lists those known")
    return [names[0]]


def _server(
    name: str | None, given: dict[str, Any], found: list[Source], environment: Mapping[str, str]
) -> tuple[Server, dict[str, Any]]:
    """A target, and the whole partial plan of one that a run starts itself."""
    url = given.get("target.base_url")
    if name is None:
        model = given.get("target.model")
        return Server("custom", {"name": "custom"}, {}, (model,) if model else (), None, (), ()), {}
    for source in found:
        if name in suite.targets(source.document, source.where):
            return suite.server(name, source.document, source.where, environment, url), {}
    if name in servers()["targets"]:
        return suite.server(name, servers(), CATALOG, environment, url), {}
    known = [name for source in found for name in _names(source, "targets")]
    if name not in catalog() and known:
        raise UserError(f"no target named {name!r}{nearest(name, known) or '; known are ' + ', '.join(known)}")
    return Server(name, {"name": name}, {}, (), None, (), ()), partial_plan(name)


def _form(scenario: str | None, found: list[Source]) -> Mapping[str, Any]:
    """A scenario as its file has it."""
    for source in found:
        if scenario is not None and scenario in _names(source, "scenarios"):
            values: Mapping[str, Any] = (
                Table(source.document, (), source.where).table("scenarios").table(scenario).values
            )
            return values
    if scenario in scenarios():
        return scenarios()[scenario]
    names = [*(name for source in found for name in _names(source, "scenarios")), *scenarios()]
    raise UserError(f"no scenario named {scenario!r}{nearest(scenario, names) or '; known are ' + ', '.join(names)}")


def _read(scenario: str, options: argparse.Namespace, found: list[Source], server: Server) -> Read:
    """A scenario with the numbers that flags put over it."""
    values = _form(scenario, found)
    if "plan" in values:
        return Read({"workload": {}}, not_understood=(), notes=())
    where = _where(found, "scenarios", scenario)
    over = dict(_numbers(options, values))
    kept = {
        key: value for key, value in values.items() if not (key == "max_tokens_distribution" and "max_tokens" in over)
    }
    return suite_scenarios.read(scenario, Table(kept | over, ("scenarios", scenario), where), server.most_output_tokens)


def _numbers(options: argparse.Namespace, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if options.num_requests is not None:
        yield "num_requests", options.num_requests
    if options.max_tokens is not None:
        yield "max_tokens", options.max_tokens
    if options.concurrency is not None:
        ladder = next((key for key in ("concurrency_levels", "num_users") if key in values), None)
        yield (ladder, [options.concurrency]) if ladder else ("concurrency", options.concurrency)


def _models(server: Server, given: dict[str, Any]) -> list[str | None]:
    if "target.model" in given:
        raise UserError("--model names one model and --all-models asks all: leave one of them out")
    if not server.models:
        raise UserError(
            f"--all-models with a scenario asks the supported_models of a target, and {server.name} names none: leave "
            "--scenario out to ask all models that the server lists, in one load"
        )
    return list(server.models)


def _over(base: dict[str, Any], server: Server, read: Read | None) -> dict[str, Any]:
    """A scenario over the partial plan of a target that a run starts itself; of its workload stays what all have."""
    if read is None or "stages" not in read.scenario:
        return base
    usual = base.get("scenario", {}).get("workload", {})
    kept = {key: value for key, value in usual.items() if key in Asking.model_fields}
    return base | {"scenario": read.scenario | {"workload": read.scenario["workload"] | kept | server.workload}}


def _with_plan(partial: dict[str, Any], scenario: str | None, found: list[Source]) -> dict[str, Any]:
    """A scenario that is a partial plan itself goes over all else, but what the target says of sampling stays."""
    plan = _form(scenario, found).get("plan") if scenario else None
    if plan is None:
        return partial
    body = partial.get("scenario", {}).get("workload", {})
    kept = {key: value for key, value in body.items() if key in Asking.model_fields}
    without = {key: value for key, value in partial.items() if key != "scenario"}
    return merge(merge(without, {"scenario": {"workload": kept}}), plan)
