"""``inferometer simulate``: the simulator as a server to practise on."""

from __future__ import annotations

import argparse

from inferometer.simulator import options


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this command."""
    options.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    return options.main(args)
