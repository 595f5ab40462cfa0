"""Files of a workload, laid ready for the workers before the clock starts.

A data set is indexed, a trace becomes arrays, both in a folder of the run directory that ``clear_away`` removes when
the run has ended. What stays is ``workload.json``: which file it was, and what became of its records.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from inferometer.client.apis import APIS
from inferometer.config.models import DatasetWorkload, Frozen, Plan, Stage, TraceLoop, TraceWorkload
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.schedule.arrivals import offsets
from inferometer.workload import dataset, trace
from inferometer.workload.asks import Materials
from inferometer.workload.dataset_asks import check_turns, counter, items_needed
from inferometer.workload.dataset_formats import Item
from inferometer.workload.hub import SCHEME, local_file
from inferometer.workload.tally import BadRecordError, Report, sentences
from inferometer.workload.tokens import PromptSpec

#: The folder of what was made of a file, and the document about it, in the run directory. The folder is removed with
#: all that is in it: it has a name that nobody else gives one, since a run may go into a folder that has others.
FOLDER, DOCUMENT = ".inferometer-workload", "workload.json"
#: No prompt is longer.
_ANY = 2**31

M = TypeVar("M", bound=Frozen)


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Which file the requests come from, as it was when the run began, and what became of its records."""

    path: str
    size_bytes: int
    modified_ns: int
    report: Report = Report()


def lay_ready(plan: Plan, prompts: PromptSpec, directory: Path, notes: list[str]) -> tuple[Plan, Materials]:
    """The plan with what its files say, and what its requests are made of.

    May be called again for the same run: everything is made anew, and comes out the same. Raises ``UserError`` if a
    file cannot be used, is not enough for the load, or is no longer what it was when the run began.
    """
    workload = plan.scenario.workload
    if isinstance(workload, DatasetWorkload):
        path = local_file(workload.path)
        with _folder(directory, path) as folder:
            found = _dataset(plan, workload, path, folder, notes)
        notes += [*_told(path, found.report), *_dataset_notes(plan, workload, found)]
        _write(directory, path, found.report)
        plan, prompts = _of_file(plan, path), _noted(prompts, path, plan)
        return plan, Materials(prompts=prompts, dataset=found)
    if isinstance(workload, TraceWorkload):
        path = local_file(workload.path)
        with _folder(directory, path) as folder:
            arrivals = _trace(workload, path, folder)
            plan = _with_numbers(_of_file(plan, path), arrivals, notes)
        notes += [*_told(path, arrivals.report), f"{path.name}: {trace.described(arrivals)}"]
        notes += _trace_notes(plan, arrivals)
        _write(directory, path, arrivals.report)
        return plan, Materials(prompts=prompts, trace=str(directory / FOLDER))
    return plan, Materials(prompts=prompts)


def clear_away(directory: Path) -> None:
    """Remove what only workers need. A copy of packed records holds prompts, which nobody asked to be kept."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


@contextmanager
def ready_until_the_end(directory: Path) -> Iterator[None]:
    """What was laid ready is gone behind the block, also where a failure or an interrupt ends it."""
    try:
        yield
    finally:
        clear_away(directory)


# --- the run directory -----------------------------------------------------------------------------------------------


@contextmanager
def _folder(directory: Path, path: Path) -> Iterator[Path]:
    """An empty folder, which is gone if nothing comes of it."""
    _check_unchanged(directory, path)
    clear_away(directory)
    try:
        (directory / FOLDER).mkdir()
        yield directory / FOLDER
    except BaseException as error:
        clear_away(directory)
        if isinstance(error, OSError):
            raise UserError(f"cannot lay {path} ready in {directory}: {error.strerror or error}") from None
        raise


def _stamp(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return told.st_size, told.st_mtime_ns


def _check_unchanged(directory: Path, path: Path) -> None:
    document = directory / DOCUMENT
    if not document.exists() or not (directory / store.PLAN).exists():  # no plan: no run began here
        return
    try:
        before = msgspec.json.decode(document.read_bytes(), type=Source)
    except msgspec.MsgspecError as error:
        raise UserError(f"cannot go on from {document}: it is damaged ({error})") from None
    if (before.size_bytes, before.modified_ns) != _stamp(path):
        raise UserError(f"{path} was changed since the run began: other prompts need a new run")


def _write(directory: Path, path: Path, report: Report) -> None:
    size_bytes, modified_ns = _stamp(path)
    source = Source(path=str(path), size_bytes=size_bytes, modified_ns=modified_ns, report=report)
    store.write_json(directory / DOCUMENT, msgspec.to_builtins(source))


def _of_file(plan: Plan, path: Path) -> Plan:
    """The plan with the whole path of its file, so that it means the same from any folder. Names of the hub stay."""
    workload = plan.scenario.workload
    assert isinstance(workload, DatasetWorkload | TraceWorkload)  # noqa: S101
    return plan if workload.path.startswith(SCHEME) else _with(plan, workload=_updated(workload, path=str(path)))


def _with(plan: Plan, **changes: Any) -> Plan:
    return _updated(plan, scenario=_updated(plan.scenario, **changes))


def _updated(model: M, **changes: Any) -> M:
    return model.model_copy(update=changes)


def _told(path: Path, report: Report) -> list[str]:
    return [f"{path.name}: {sentence}" for sentence in sentences(report)]


# --- data sets -------------------------------------------------------------------------------------------------------


def _dataset(plan: Plan, workload: DatasetWorkload, path: Path, folder: Path, notes: list[str]) -> dataset.Dataset:
    needed = items_needed(plan.scenario.stages)
    if needed is None and not workload.oversample:
        raise UserError(
            "a stage that ends by time may need any number of prompts: give --num-prompts too, or leave "
            "--no-oversample out"
        )
    spec = dataset.DatasetSpec(
        kind=workload.format,
        prompt_key=workload.prompt_key,
        output_tokens_key=workload.output_tokens_key,
        whole_conversation=workload.multi_turn,
        skip_bad_lines=workload.skip_bad_lines,
        shuffle_seed=plan.seed if workload.shuffle else None,
        limit=needed,
    )
    models: Counter[str] = Counter()
    found = dataset.prepare(path, spec, folder, _refine(plan, workload, models))
    if models:
        listed = ", ".join(f"{model} ({count})" for model, count in models.most_common(5))
        notes.append(f"{path.name}: records that name a model of their own ask that one: {listed}")
    if needed is not None and needed > found.report.kept and not workload.oversample:
        raise UserError(
            f"{path} has {found.report.kept} prompts that can be used, and the stages send {needed}, warm-up included: "
            "send fewer, or leave --no-oversample out"
        )
    return found


def _refine(plan: Plan, workload: DatasetWorkload, models: Counter[str]) -> dataset.Refine:
    count, limits = counter(plan), _limits(workload)
    if limits is not None and count is None:
        raise UserError("limits on the tokens of prompts need a tokenizer to count with: give --tokenizer")

    def refine(item: Item) -> Item:
        _check_sendable(plan, item)
        models.update([item.overrides["model"]] if "model" in item.overrides else ())
        if workload.multi_turn:
            check_turns(item)
        return item if count is None else dataset.sized(item, count, limits, workload.output_tokens)

    return refine


def _limits(workload: DatasetWorkload) -> dataset.TokenLimits | None:
    given = (
        workload.min_prompt_tokens,
        workload.min_output_tokens,
        workload.max_prompt_tokens,
        workload.max_total_tokens,
    )
    if not any(given):
        return None
    low, low_output, high, total = given
    return dataset.TokenLimits(low or 0, low_output or 0, high or _ANY, total or _ANY)


def _check_sendable(plan: Plan, item: Item) -> None:
    """Raise ``BadRecordError`` for what the API of the target has no words for."""
    api, prompt = plan.target.api, item.prompt
    if not isinstance(prompt, list):
        return
    takes_ids = APIS[api].takes_ids
    if isinstance(prompt[0], int) and not takes_ids:
        raise BadRecordError(f"token ids, which {api} does not take: --backend openai does")
    parts = (message.get("content") for message in prompt if isinstance(message, dict))
    if takes_ids and any(isinstance(part, list) for part in parts):
        raise BadRecordError(f"a message of several parts, which {api} does not take: use a chat API")


def _dataset_notes(plan: Plan, workload: DatasetWorkload, found: dataset.Dataset) -> list[str]:
    name, kept, notes = Path(found.source).name, found.report.kept, []
    needed = items_needed(plan.scenario.stages)
    if needed is not None and needed > kept:
        notes.append(f"{name}: {kept} prompts for {needed} requests: they are sent again, and prefix caches know them")
    silent = found.without_output_tokens
    if silent and workload.output_tokens is None and not (workload.multi_turn and plan.target.tokenizer):
        hint = "; with --tokenizer recorded answers are counted" if found.answers and not plan.target.tokenizer else ""
        notes.append(
            f"{name}: {silent} records do not say how long the answer may be: {workload.default_output_tokens} tokens"
            f"{hint}"
        )
    return notes


def _noted(prompts: PromptSpec, path: Path, plan: Plan) -> PromptSpec:
    counted = "counted with the tokenizer" if plan.target.tokenizer else "counted by the server alone"
    return msgspec.structs.replace(prompts, note=f"those of {path.name}, {counted}")


# --- traces ----------------------------------------------------------------------------------------------------------


def _trace(workload: TraceWorkload, path: Path, folder: Path) -> trace.Trace:
    spec = trace.TraceSpec(
        kind=workload.format,
        skip_bad_lines=workload.skip_bad_lines,
        model=workload.model,
        unit=workload.unit,
        block_tokens=workload.block_tokens,
    )
    arrivals = trace.read_trace(path, spec)
    if workload.max_tokens is not None:
        arrivals = trace.fitting(arrivals, workload.max_tokens)
    trace.save(arrivals, folder)
    return arrivals


def _with_numbers(plan: Plan, arrivals: trace.Trace, notes: list[str]) -> Plan:
    """Stages at recorded times get the number of requests that are in their windows."""
    stages = plan.scenario.stages
    return _with(plan, stages=tuple(_with_number(stage, at, arrivals, notes) for at, stage in enumerate(stages)))


def _with_number(stage: Stage, at: int, arrivals: trace.Trace, notes: list[str]) -> Stage:
    load = stage.load
    if not isinstance(load, TraceLoop) or load.times_s:
        return stage
    due = offsets(_updated(stage, num_requests=None), 0, arrivals.at_ns)
    number = sum(1 for _ in due)
    if not number:
        end_s = float(arrivals.at_ns[-1]) / 1e9
        raise UserError(f"stage {at + 1}: no request of the trace, which ends at {end_s:.3f} s, is in its window")
    asked = number if stage.num_requests is None else stage.num_requests
    if asked > number:
        notes.append(f"stage {at + 1}: {number} requests are in its part of the trace, and not {asked}")
    return _updated(stage, num_requests=min(asked, number))


def _trace_notes(plan: Plan, arrivals: trace.Trace) -> list[str]:
    notes, count = [], len(arrivals.at_ns)
    if not plan.scenario.workload.ignore_eos:
        notes.append("answers may be shorter than the recorded ones: --ignore-eos asks for their full length")
    if any((stage.num_requests or 0) > count for stage in plan.scenario.stages):
        notes.append(f"behind its {count} requests the trace begins anew, with other text")
    return notes
