"""Data files of tests, prepared and read back."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from inferometer.workload.dataset import Dataset, DatasetSpec, Items, prepare
from inferometer.workload.dataset_formats import Item

FIXTURES = Path(__file__).parents[1] / "fixtures" / "datasets"


def prepared(source: Path, refine: Callable[[Item], Item] | None = None, **spec: Any) -> tuple[Dataset, list[Item]]:
    with TemporaryDirectory() as scratch:
        dataset = prepare(source, msgspec.convert(spec, DatasetSpec), Path(scratch), refine)
        items = Items(dataset)
        found = [items.item(index) for index in range(len(items))]
        items.close()
    return dataset, found


def prompts(source: Path, **spec: Any) -> list[Any]:
    return [item.prompt for item in prepared(source, **spec)[1]]


def write(folder: Path, content: bytes | str, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
