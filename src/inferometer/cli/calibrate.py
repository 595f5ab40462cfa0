"""``inferometer calibrate``: how far this machine can be trusted as a client."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.analysis.calibration import Calibration

EPILOG = """Runs for less than a minute and needs nothing but this machine. The result is kept in
$XDG_STATE_HOME/inferometer/calibration.json (~/.local/state) for later runs on the same machine."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """How long, and where to."""
    parser.epilog = EPILOG
    parser.add_argument("--quick", action="store_true", help="a rougher answer within 15 s; it is not kept")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the result here")


def run(options: argparse.Namespace) -> int:
    """Measure, keep and print."""
    if options.output is not None and not options.output.parent.is_dir():
        raise UserError(f"--output {options.output}: there is no folder {options.output.parent}")
    if options.output is not None and options.output.is_dir():
        raise UserError(f"--output {options.output}: that is a folder; name a file in it")
    import msgspec

    from inferometer.records import store
    from inferometer.report.calibration import render
    from inferometer.runner.calibration import FULL, QUICK, calibrate

    calibration = calibrate(QUICK if options.quick else FULL, _note)
    print(render(calibration))
    if not options.quick:
        _keep(calibration)
    if options.output is not None:  # last: a file that cannot be written does not cost the result
        store.write_json(options.output, msgspec.to_builtins(calibration))
    return 0


def _keep(calibration: Calibration) -> None:
    """For later runs. A folder that cannot be written costs that, and not the result."""
    from inferometer.telemetry.calibrated import save, state_file

    path = state_file()
    try:
        if path is not None:
            save(path, calibration)
            _note(f"kept for later runs: {path}")
    except UserError as error:
        _note(f"note: not kept for later runs: {error}")


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
