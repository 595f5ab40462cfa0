"""The command line. A command is one small module with ``arguments(parser)`` and ``run(args) -> exit code``.

Only the module of the chosen command is imported, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from importlib import import_module
from typing import NoReturn

from inferometer import __version__
from inferometer.cli.streams import steady
from inferometer.errors import UserError

COMMANDS = {
    "run": "benchmark a target; without arguments, practise on the embedded simulator",
    "check": "is this endpoint alive: health, models, one completion, one stream",
    "report": "show a run directory again, finished or killed",
    "compare": "runs side by side, with statistics; regressions against a baseline; history",
    "export": "write a run in the result format of another tool",
    "analyse": "what results say: statistics, thresholds, a grade, and the trend over several runs",
    "standardize": "results of vLLM, or runs, in the form of the evaluation pipeline",
    "aggregate": "results as rows for ClickHouse, and what got worse",
    "calibrate": "how far this machine can be trusted as a client",
    "targets": "the targets of the catalog, or of a targets.yaml",
    "scenarios": "the scenarios of the catalog, or of a test_scenarios.yaml",
    "simulate": "the simulator as a server to practise on",
    "schema": "print the JSON Schema of a plan",
}


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one sentence instead of repeating every flag."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UserError`` with the nearest flag, if a flag is unknown."""
        unknown = re.match(r"unrecognized arguments: (--[^\s=]+)|.*invalid choice: '([^']+)'", message)
        word = (unknown[1] or unknown[2]) if unknown else ""
        near = difflib.get_close_matches(word, [*self.flags(), *self.commands()], 1) if word else []
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"{message}; {hint}see {self.prog} --help")

    def commands(self) -> dict[str, Parser]:
        """Its commands by name."""
        tables = [action.choices for action in self._actions if isinstance(action.choices, dict)]
        return {name: one for table in tables for name, one in table.items() if isinstance(one, Parser)}

    def flags(self) -> list[str]:
        """Every flag of this parser and of its commands."""
        own = [flag for action in self._actions for flag in action.option_strings]
        return own + [flag for command in self.commands().values() for flag in command.flags()]


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2, 3, 4 or 130 as documented in docs/exit-codes.md."""
    args = sys.argv[1:] if argv is None else argv
    try:
        with steady() as out:
            code = _command(args)
    except SystemExit:  # of --help and --version
        if out.failure is None:
            raise
        code = 0
    if out.failure is None or code in (2, 130):
        return code
    return 3 if args[:1] == ["run"] else 2


def _command(args: list[str]) -> int:
    chosen = args[0] if args and args[0] in COMMANDS else None
    try:
        parser = _parser(chosen)
        options = parser.parse_args(args)
        return int(import_module(f"inferometer.cli.{options.command}").run(options))
    except UserError as error:
        print(f"inferometer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("inferometer: interrupted", file=sys.stderr)
        return 130


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = Parser(
        prog="inferometer", description="An instrument that measures LLM inference servers, and states its own error."
    )
    parser.add_argument("--version", action="version", version=f"inferometer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == chosen:
            import_module(f"inferometer.cli.{name}").arguments(command)
    return parser
