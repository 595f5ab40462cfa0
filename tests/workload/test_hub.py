"""Names of data sets on the hub, and which of their files is meant. Its answers are played; e2e has a server for it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inferometer.errors import UserError
from inferometer.workload.hub import local_file


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub says: ``files`` of every data set, or the ``error`` of reaching it; ``cached`` is what is here."""
    told: dict[str, Any] = {"files": [], "error": None, "cached": None}

    def dataset_info(_: str, timeout: float) -> Any:
        if told["error"]:
            raise told["error"]
        return SimpleNamespace(sha="c0", siblings=[SimpleNamespace(rfilename=name) for name in told["files"]])

    monkeypatch.setattr("huggingface_hub.dataset_info", dataset_info)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda name, file, **more: f"/{name}/{more['revision']}/{file}"
    )
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: told["cached"])
    return told


def test_other_paths_are_those_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_file("a/b.json") == tmp_path / "a" / "b.json"
    assert local_file("~/b.json") == Path.home() / "b.json"
    assert local_file("~nobody-of-this-name/b.json") == tmp_path / "~nobody-of-this-name" / "b.json"


def test_a_file_by_its_name_or_the_only_one(hub: dict[str, Any]) -> None:
    hub["files"] = ["README.md", ".gitattributes", "dataset_infos.json", "data/train.parquet"]
    assert local_file("hf://org/name") == Path("/org/name/c0/data/train.parquet")
    assert local_file("hf://datasets/org/name/x/y.jsonl") == Path("/org/name/c0/x/y.jsonl")


@pytest.mark.parametrize(
    ("path", "files", "said"),
    [
        ("hf://name", [], "write hf://ORG/NAME/FILE"),
        ("hf://org/", [], "write hf://ORG/NAME/FILE"),
        ("hf://org/name", ["README.md"], "no file that can be read; it has README.md"),
        ("hf://org/name", ["a.json", "b.csv"], "name one, such as hf://org/name/a.json; a.json, b.csv"),
        ("hf://org/name", [f"{n}.csv" for n in range(10)], "7.csv and 2 more"),
    ],
)
def test_what_is_not_clear_is_asked(hub: dict[str, Any], path: str, files: list[str], said: str) -> None:
    hub["files"] = files
    with pytest.raises(UserError, match=said):
        local_file(path)


def test_a_name_that_the_hub_does_not_allow() -> None:
    with pytest.raises(UserError, match=r"cannot get hf://or--g/na\.\.me/x\.jsonl from the hub: .*repo_id"):
        local_file("hf://or--g/na..me/x.jsonl")


def test_without_a_network_there_is_what_was_downloaded_before(hub: dict[str, Any]) -> None:
    hub["error"] = OSError("no route to host\nand more")
    with pytest.raises(UserError, match=r"cannot get hf://org/name/a\.json from the hub: no route to host; without"):
        local_file("hf://org/name/a.json")
    hub["cached"] = "/cache/a.json"
    assert local_file("hf://org/name/a.json") == Path("/cache/a.json")
    with pytest.raises(UserError, match="cannot get hf://org/name from the hub"):
        local_file("hf://org/name")
