"""The house rules that imports can break: data flows one way, and pure modules touch nothing outside."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import inferometer

SOURCE = Path(inferometer.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
FLOW = ("config", "workload", "schedule", "client", "records", "analysis", "report", "export")
BESIDE = ("telemetry", "engine", "runner", "simulator", "cli")
#: Types that every room may use: no I/O, nothing to the right of them.
SHARED = {"errors", "records.record", ""}
PURE = (
    *(f"analysis/{path.name}" for path in sorted((SOURCE / "analysis").glob("*.py")) if path.name != "load.py"),
    "schedule/arrivals.py",
    "schedule/rates.py",
    "schedule/compatible.py",
    "workload/lengths.py",
    "client/sse.py",
    "client/exchange.py",
    "client/failure.py",
    *(f"client/{name}.py" for name in ("apis", "answers", "prompts", "openai", "responses", "anthropic", "tgi")),
    *(f"client/{name}.py" for name in ("ollama", "embeddings", "generate", "ndjson", "fit", "jobs")),
    "simulator/model.py",
    "simulator/exact.py",
    "simulator/blocks.py",
    *(f"simulator/{name}.py" for name in ("faults", "styles", "streams", "events", "bodies", "dialects")),
    *(f"simulator/{name}.py" for name in ("anthropic", "responses", "tgi", "ollama", "embeddings", "generate")),
    "workload/images.py",
    "client/retry.py",
    "runner/rules.py",
)
IMPURE = {"socket", "asyncio", "time", "os", "pathlib", "subprocess", "threading", "io", "tempfile"}


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, wherever in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(path: Path) -> Iterator[tuple[str, str]]:
    """(room, dotted name below the package) of every import of our own."""
    for name in imported(path):
        package, _, inner = name.partition(".")
        if package == "inferometer" and not is_shared(inner):
            yield inner.partition(".")[0], inner


def is_shared(inner: str) -> bool:
    module = inner.rpartition(".")[0]
    return module in SHARED or inner in SHARED


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent != SOURCE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_data_flows_one_way(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    for other, name in rooms(path):
        assert other in (*FLOW, *BESIDE), f"{name}: a room that this test does not know"
        if room in FLOW:
            assert other not in BESIDE, f"{room} imports {name}"
            assert FLOW.index(other) <= FLOW.index(room), f"{room} imports {name} from its right"
        elif room != "cli":
            assert other != "cli", f"{room} imports {name}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_touch_nothing(name: str) -> None:
    for module in imported(SOURCE / name):
        assert module.partition(".")[0] not in IMPURE, f"{name} imports {module}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_have_no_global_random(name: str) -> None:
    """A generator of one's own, made from a seed, is welcome."""
    modules = set(imported(SOURCE / name))
    places = ("random.", "np.random.") if "random" in modules else ("np.random.",)
    tree = ast.walk(ast.parse((SOURCE / name).read_text()))
    used = {ast.unparse(node) for node in tree if isinstance(node, ast.Attribute)}
    names = {name for name in used if name.startswith(places)} | {m for m in modules if m.startswith("random.")}
    assert names <= {"random.Random", "np.random.Generator", "np.random.PCG64", "np.random.default_rng"}
    assert "default_rng()" not in (SOURCE / name).read_text()


def test_commands_load_nothing_heavy() -> None:
    heavy = {"pyarrow", "pydantic", "httpx", "tokenizers", "rich", "numpy"}
    tops = [
        alias.name if isinstance(node, ast.Import) else node.module or ""
        for node in ast.parse((SOURCE / "cli" / "__init__.py").read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert not {top.partition(".")[0] for top in tops} & heavy
