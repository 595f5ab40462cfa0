"""``inferometer run``: load the plan, prepare, play, report; or go on with a run that was cut."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from inferometer.cli import foreign, machines, origins, session, worlds
from inferometer.cli.export import SAVE_FLAGS, check_save, save_flags
from inferometer.cli.foreign import Asked, Planned
from inferometer.cli.session import INTERRUPTED
from inferometer.cli.streams import outliving_terminals
from inferometer.cli.worlds import World
from inferometer.config import files
from inferometer.config.flags import FLAGS, add_flags
from inferometer.config.foreign import detect
from inferometer.config.models import Plan
from inferometer.errors import UserError

EPILOG = """Without --base-url, --target or -c the run practises on the embedded simulator.
Exit codes: 0 done; 1 stopped early by a rule, or a threshold missed; 2 usage or no server; 3 requests failed;
4 not VALID under --strict; 130 interrupted."""

#: Flags that are given even if they are not: their values then. --resume goes with those of the second set alone.
DEFAULTS = {**foreign.DEFAULTS, **machines.DEFAULTS, "run_dir": None, "dry_run": False, "html": False}
BESIDE_RESUME = {"command", "resume", "strict", "output", *machines.DEFAULTS, *SAVE_FLAGS}

#: Of the exit codes of several runs the first of these is that of the command.
WORST_FIRST = (INTERRUPTED, 2, 3, 4, 1)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the plan, and of what happens around it."""
    parser.epilog = EPILOG
    foreign.arguments(parser)
    add_flags(parser)
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run directory itself (default: results/NAME-TIME)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with the run in this directory at the stage where it was cut"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.json",
        help="also write the summary here; with --scenario, --targets-file or a file of the suite its result",
    )
    parser.add_argument("--html", action="store_true", help="also write a page: beside --output, else report.html")
    save_flags(parser)
    machines.arguments(parser, "thresholds and failures")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved plan and stop")
    parser.add_argument("--strict", action="store_true", help="exit 4 unless every stage is VALID")


def run(options: argparse.Namespace) -> int:
    """Play the plans that the options describe, or what is left of one."""
    with outliving_terminals(), _terminable():
        return _begin(options) if options.resume is None else _resume(options)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that what it began is taken back or kept, as the case may be.

    So does SIGINT in the background of a script, whose shell has it ignored from the start (POSIX shell, 2.11).
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {which: signal.signal(which, signal.default_int_handler) for which in signals}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _begin(options: argparse.Namespace) -> int:
    asked = foreign.requested(options)
    for remark in asked.remarks:
        print(remark, file=sys.stderr)
    if options.dry_run:
        print("---\n".join(files.dump(one.plan) for one in asked.plans), end="")
        return 0
    around = _world(asked, options)
    several = len(asked.plans) > 1
    inner = _without_output(options) if several or around.takes_output else options
    codes, played = list[int](), list[tuple[Planned, Path]]()
    for one in asked.plans:
        directory = around.directory(one)
        code = _played(one, inner, directory, practising=asked.practising, several=several)
        codes += [code, around.keep(directory, code)]
        played.append((one, directory))
        if code == INTERRUPTED:
            break
    return _ended(options, around, played, codes)


def _world(asked: Asked, options: argparse.Namespace) -> World:
    """What is done around the runs. Raises ``UserError`` now for files that could not be written in the end."""
    check_save(options)
    machines.check(options)
    around = worlds.world(asked, options)
    _check_output(options.output, make=around.takes_output)
    return around


def _played(one: Planned, options: argparse.Namespace, directory: Path, *, practising: bool, several: bool) -> int:
    """Play one of the plans. One of several that cannot be played keeps no other from it. Returns the exit code."""
    from inferometer.records import store

    new = store.create(directory)
    try:
        origins.keep(one.origin, directory)
        with session.speaking(one.plan, directory) as voice:
            if practising:
                voice.note("Practising on the embedded simulator (measure a real server with --base-url URL).")
            if several:
                voice.note(f"===== {directory.name} =====")
            return session.play(one.plan, directory, options, voice)
    except UserError as error:
        store.discard(directory, new=new)
        print(f"inferometer: {f'{directory.name}: ' * several}{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        store.discard(directory, new=new)
        raise


def _ended(options: argparse.Namespace, around: World, played: Sequence[tuple[Planned, Path]], codes: list[int]) -> int:
    """What is shown and written when all runs have ended. Returns the exit code of the command."""
    from inferometer.records import store

    codes.append(around.show([(one, at) for one, at in played if (at / store.SUMMARY).exists()]))
    machines.write_played(options, [directory for _, directory in played])
    return next((code for code in WORST_FIRST if code in codes), 0)


def _resume(options: argparse.Namespace) -> int:
    """Play the stages that are not finished, if there are any."""
    _refuse_other_flags(options)
    from inferometer.export.load import origin_of
    from inferometer.records import store

    directory: Path = options.resume
    if not (directory / store.PLAN).exists():
        raise UserError(f"--resume {directory}: that is not a run directory: it has no {store.PLAN}")
    origin = origin_of(directory)
    one = Planned(files.read_plan(directory / store.PLAN), directory.name, origin)
    around = _world(Asked((one,), world=origin.format if origin else detect.OURS), options)
    code = _rest(one.plan, directory, _without_output(options) if around.takes_output else options)
    return _ended(options, around, [(one, directory)], [code, around.keep(directory, code)])


def _rest(plan: Plan, directory: Path, options: argparse.Namespace) -> int:
    """What is left of a run, or its results if nothing is. Returns an exit code."""
    from inferometer.runner.conduct import conclude
    from inferometer.runner.sessions import earlier_sessions, is_complete

    with session.speaking(plan, directory) as voice:
        earlier = earlier_sessions(directory)
        if earlier is None or not is_complete(plan, earlier):
            return session.play(plan, directory, options, voice, earlier)
        conclude(directory, earlier)
        reason = f"a rule ended it ({earlier.stopped})" if earlier.stopped else earlier.settled
        voice.note(f"{directory} is complete: {reason or 'every stage was played'}. There is nothing left to do.")
        code = session.exit_code(session.show(directory, options, voice), strict=options.strict)
        return code or (1 if earlier.stopped else 0)


def _refuse_other_flags(options: argparse.Namespace) -> None:
    """A plan that changed in the middle would be two measurements under one name."""
    names = {flag.path: flag.name for flag in FLAGS}
    given = (key for key, value in vars(options).items() if key not in DEFAULTS or value != DEFAULTS[key])
    other = sorted(names.get(key, key.replace("_", "-")) for key in given if key not in BESIDE_RESUME)
    if other:
        flags = ", ".join(f"--{name}" for name in other)
        raise UserError(f"--resume goes on with the plan of its run: leave out {flags}, or begin a new run")


def _without_output(options: argparse.Namespace) -> argparse.Namespace:
    return argparse.Namespace(**vars(options) | {"output": None})


def _check_output(path: Path | None, *, make: bool = False) -> None:
    """Raises ``UserError`` now for a file that could not be written in the end. ``make``: its folder is made."""
    if path is None:
        return
    if make:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}")
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None
