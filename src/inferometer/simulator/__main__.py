"""``python -m inferometer.simulator``: the simulator alone, without the rest of the command line."""

from __future__ import annotations

import argparse
import sys

from inferometer.errors import UserError
from inferometer.simulator import options


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m inferometer.simulator", description="A server to practise on.")
    options.arguments(parser)
    try:
        return options.main(parser.parse_args())
    except UserError as error:
        print(f"inferometer: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(_main())
