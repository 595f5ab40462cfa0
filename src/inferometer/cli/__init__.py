"""The command line. A command is one small module with ``arguments(parser)`` and ``run(args) -> exit code``.

Only the module of the chosen command is imported, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from inferometer import __version__
from inferometer.errors import UserError

COMMANDS = {
    "run": "benchmark a target; without arguments, practise on the embedded simulator",
    "check": "is this endpoint alive: health, models, one completion, one stream",
    "report": "show a run directory again, finished or killed",
    "simulate": "the simulator as a server to practise on",
    "schema": "print the JSON Schema of a plan",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2, 3, 4 or 130 as documented in docs/exit-codes.md."""
    args = sys.argv[1:] if argv is None else argv
    chosen = args[0] if args and args[0] in COMMANDS else None
    parser = _parser(chosen)
    try:
        options = parser.parse_args(args)
        return int(import_module(f"inferometer.cli.{options.command}").run(options))
    except UserError as error:
        print(f"inferometer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("inferometer: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inferometer", description="An instrument that measures LLM inference servers, and states its own error."
    )
    parser.add_argument("--version", action="version", version=f"inferometer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name == chosen:
            import_module(f"inferometer.cli.{name}").arguments(command)
    return parser
