"""``inferometer export DIR --to NAME``: a run in the result format of another tool."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.export.documents import Document, Options

#: The names of ``export.formats.FORMATS``, which are heavy to import for --help; a test compares them.
NAMES = (
    "vllm",
    "suite",
    "standardized",
    "inference-perf",
    "llm-d",
    "llm-d-v0.1",
    "llm-d-v0.2",
    "csv",
    "csv-requests",
    "ab",
    "markdown",
)
#: Where ``save_flags`` puts what it takes.
SAVE_FLAGS = {"save_result", "save_detailed", "append_result", "result_dir", "result_filename", "label", "metadata"}
ENDINGS = {".json", ".yaml", ".yml", ".csv", ".tsv", ".md"}
EPILOG = """Without --output the files go to DIR/exports/NAME. --output - prints a format that has one file."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run, the format, and where to."""
    parser.epilog = EPILOG
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--to", required=True, choices=NAMES, metavar="NAME", help="the format")
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="a folder, or the file itself if the format has one; - is stdout"
    )
    parser.add_argument("--detailed", action="store_true", help="vllm: with the lists that have an entry per request")
    parser.add_argument("--append", action="store_true", help="put one file behind what --output has already")
    parser.add_argument("--label", metavar="TEXT", help="vllm: the label, also in the file's name")
    parser.add_argument(
        "--metadata", nargs="+", default=[], metavar="KEY=VALUE", help="vllm: more keys of the result, as texts"
    )
    parser.add_argument("--json", action="store_true", help="llm-d: benchmark reports as JSON instead of YAML")


def save_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``run`` that save results in vLLM's form, named as in ``vllm bench serve``. None has a default."""
    group = parser.add_argument_group("results in the form of vllm bench serve", argument_default=argparse.SUPPRESS)
    group.add_argument("--save-result", action="store_true", help="save a result JSON for each stage")
    group.add_argument("--save-detailed", action="store_true", help="with the lists that have an entry per request")
    group.add_argument("--append-result", action="store_true", help="put results behind what the file has already")
    group.add_argument("--result-dir", type=Path, metavar="DIR", help="folder of results (default: this one)")
    group.add_argument("--result-filename", metavar="NAME", help="name of the file (default: as vLLM names it)")
    group.add_argument("--label", metavar="TEXT", help="label of the result, also in the file's name")
    group.add_argument("--metadata", nargs="+", metavar="KEY=VALUE", help="more keys of the result, as texts")


def check_save(options: argparse.Namespace) -> None:
    """Raise ``UserError`` before the run for flags that would save nothing."""
    given = sorted(SAVE_FLAGS & vars(options).keys())
    if given and not {"save_result", "append_result"} & set(given):
        raise UserError(f"--{given[0].replace('_', '-')} is about a result that is not saved: add --save-result")
    pairs(getattr(options, "metadata", []))


def save_result(options: argparse.Namespace, directory: Path) -> list[Path]:
    """Save what the flags of ``save_flags`` ask for, after a run; the files. Raises ``UserError``."""
    if not {"save_result", "append_result"} & vars(options).keys():
        return []
    from inferometer.export.documents import Options
    from inferometer.export.load import append, load, write
    from inferometer.export.vllm import export

    appending, name = hasattr(options, "append_result"), getattr(options, "result_filename", None)
    chosen = Options(
        detailed=hasattr(options, "save_detailed"),
        label=getattr(options, "label", None),
        metadata=pairs(getattr(options, "metadata", [])),
        result_filename=name,
    )
    made, folder = export(load(directory), chosen).documents, getattr(options, "result_dir", Path())
    if not appending:
        return write(made, folder)
    paths = [folder / (name or document.name) for document in made]
    for document, path in zip(made, paths, strict=True):
        append(document, path)
    return list(dict.fromkeys(paths))


def run(options: argparse.Namespace) -> int:
    """Write the files, and name them on stdout."""
    from inferometer.export.formats import FORMATS
    from inferometer.export.load import load

    chosen = chosen_options(options)
    found = load(options.directory)
    if not found.summary["stages"]:
        raise UserError(f"{options.directory} has no request: there is nothing to export")
    made = FORMATS[options.to].make(found, chosen)
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    _place(options, made.documents)
    return 0


def chosen_options(options: argparse.Namespace) -> Options:
    """The flags as the formats take them. Raises ``UserError``."""
    from inferometer.export.documents import Options

    named = options.output.name if options.output is not None and _is_file(options.output) else None
    return Options(
        detailed=options.detailed,
        label=options.label,
        metadata=pairs(options.metadata),
        result_filename=named,
        as_json=options.json,
    )


def pairs(words: list[str]) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE as pairs. Raises ``UserError``."""
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise UserError(f"--metadata {wrong[0]}: write KEY=VALUE")
    return tuple((key, value) for key, _, value in (word.partition("=") for word in words))


def _is_file(path: Path) -> bool:
    return path.suffix in ENDINGS and not path.is_dir()


def _place(options: argparse.Namespace, documents: list[Document]) -> None:
    from inferometer.export.load import append, write, write_one

    output: Path | None = options.output
    if options.append and (output is None or not _is_file(output)):
        raise UserError("--append needs the file to append to: give --output FILE")
    if output is None or not (_is_file(output) or str(output) == "-"):
        folder = options.directory / "exports" / options.to if output is None else output
        print("\n".join(map(str, write(documents, folder))))
        return
    if options.to == "suite" and len(documents) > 1 and str(output) != "-":
        print("\n".join(map(str, write(documents, output.parent))))
        return
    if options.append:
        for document in documents:
            append(document, output)
    elif len(documents) > 1:
        raise UserError(f"--to {options.to} makes {len(documents)} files: give a folder instead of --output {output}")
    else:
        write_one(documents[0], None if str(output) == "-" else output)
    if str(output) != "-":
        print(output)
