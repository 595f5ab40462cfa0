"""``inferometer schema``: the JSON Schema of a plan, for editors."""

from __future__ import annotations

import argparse
import json

from inferometer.config.models import Plan


def arguments(_: argparse.ArgumentParser) -> None:
    """No flags."""


def run(_: argparse.Namespace) -> int:
    """Print it."""
    print(json.dumps(Plan.model_json_schema(), indent=2))
    return 0
