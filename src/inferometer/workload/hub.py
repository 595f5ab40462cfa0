"""Data sets of the Hugging Face hub, one file of them at a time: ``hf://ORG/NAME/FILE``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from inferometer.errors import UserError

SCHEME = "hf://"
#: How long the hub may take to answer, in seconds.
ANSWER_S = 10
#: Ends of names of files that can be read, and of those that describe a data set.
_DATA = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt", ".gz")
_ABOUT = ("dataset_infos.json", "dataset_info.json", "state.json")


def local_file(path: str) -> Path:
    """The file itself, absolute; one of the hub is downloaded into its own cache first.

    Raises ``UserError`` if the hub cannot be reached, or it is not clear which file is meant.
    """
    if not path.startswith(SCHEME):
        return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 (that of Path raises where nobody has the name)
    org, _, rest = path.removeprefix(SCHEME).removeprefix("datasets/").partition("/")
    name, _, file = rest.partition("/")
    if not org or not name:
        raise UserError(f"{path} is not the name of a data set: write {SCHEME}ORG/NAME/FILE")
    return _downloaded(path, f"{org}/{name}", file)


def _downloaded(path: str, repository: str, file: str) -> Path:
    """Asks first, once, what there is: a download by itself tries for half a minute where there is no network."""
    try:
        import huggingface_hub as hub
    except ImportError:
        raise UserError(f"{path} needs the package huggingface_hub: pip install huggingface_hub") from None
    try:
        found = hub.dataset_info(repository, timeout=ANSWER_S)
        file = file or _only(path, [one.rfilename for one in found.siblings or ()])
        return Path(hub.hf_hub_download(repository, file, repo_type="dataset", revision=found.sha))
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001 (network, HTTP and cache raise errors of many libraries)
        if (cached := _cached(hub, repository, file)) is not None:
            return cached
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        hint = "without a network, give the file itself with --dataset-path"
        raise UserError(f"cannot get {path} from the hub: {reason[:200]}; {hint}") from None


def _cached(hub: Any, repository: str, file: str) -> Path | None:
    """What was downloaded before; nothing, if this is no name for a data set."""
    with suppress(ValueError):
        found = hub.try_to_load_from_cache(repository, file, repo_type="dataset") if file else None
        return Path(found) if isinstance(found, str) else None
    return None


def _only(path: str, files: list[str]) -> str:
    """The one file with data in it."""
    data = [file for file in files if file.lower().endswith(_DATA) and file.rpartition("/")[2] not in _ABOUT]
    if len(data) == 1:
        return data[0]
    if not data:
        raise UserError(f"{path} has no file that can be read; it has {', '.join(files[:8]) or 'none at all'}")
    more = f" and {len(data) - 8} more" if len(data) > 8 else ""
    raise UserError(f"{path} has several files: name one, such as {path}/{data[0]}; {', '.join(data[:8])}{more}")
