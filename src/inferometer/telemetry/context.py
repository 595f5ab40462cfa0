"""What must be known to reproduce a run, captured and never guessed: every field with its value and where it is from.

What nobody told is ``unknown``. What a user told (``facts``) wins over what was captured, and may be anything.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inferometer import __version__
from inferometer.config.lengths import Lengths
from inferometer.config.models import ClosedLoop, Plan, Target
from inferometer.telemetry import calibrated, gpu, server_pages
from inferometer.telemetry.prometheus import Sample, info
from inferometer.telemetry.server_pages import LIMIT_S, Known, asked, text

UNKNOWN = "unknown"
TOLD = "told by the user"
#: Fields that every run has, whether known or not, in the order in which they are shown.
FIELDS = (
    "commit",
    "gpu",
    "driver",
    "cuda",
    "model",
    "dtype",
    "max_model_len",
    "engine",
    "server_args",
    "kubernetes",
    "request_shape",
    "load_pattern",
    "client",
    "inferometer",
    "plan_sha256",
)
_GIB = 1 << 30
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_CACHE_ARGUMENTS = (
    "gpu_memory_utilization",
    "block_size",
    "num_gpu_blocks",
    "cache_dtype",
    "enable_prefix_caching",
    "kv_cache_size_tokens",
)


class Context(NamedTuple):
    """The values of the fields, and where each of them is from."""

    values: dict[str, str]
    sources: dict[str, str]


def context(
    plan: Plan,
    facts: Mapping[str, str],
    samples: Mapping[str, Sequence[Sample]],
    *,
    plan_sha256: str,
    folder: Path,
) -> Context:
    """The context of a run, for ``context.json``.

    Asks the server, and this machine; nothing here takes more than a few seconds or fails.

    Args:
        plan: the resolved one, with the model that is measured.
        facts: what the user says of the target, by field or by any other name.
        samples: the first page of metrics of each replica.
        plan_sha256: of the plan's file, which holds no secrets.
        folder: where the command was given; its git commit is captured.
    """
    pages = [sample for page in samples.values() for sample in page]
    captured: dict[str, Known] = {
        "request_shape": Known(request_shape(plan), "plan"),
        "load_pattern": Known(load_pattern(plan), "plan"),
        "client": _client(),
        "inferometer": Known(__version__, "this program"),
        "plan_sha256": Known(plan_sha256, "plan.yaml"),
        **_commit(folder),
        **_kubernetes(),
        **_gpus(plan.target, pages),
        **_cache(pages),
        **server_pages.server(plan.target, speaks_vllm=any(one.name.startswith("vllm:") for one in pages)),
    }
    told = {name: Known(value, TOLD) for name, value in facts.items()}
    unknown = dict.fromkeys(FIELDS, Known(UNKNOWN, "nobody told"))
    fields = (unknown | captured | told).items()
    return Context({name: known.value for name, known in fields}, {name: known.source for name, known in fields})


# --- the plan --------------------------------------------------------------------------------------------------------


def request_shape(plan: Plan) -> str:
    """For example ``256-token input / 128-token output, ignore_eos, seed 42``."""
    workload = plan.scenario.workload
    sizes = {
        (_length(stage.input_tokens, workload, "input_tokens"), _length(stage.output_tokens, workload, "output_tokens"))
        for stage in plan.scenario.stages
    }
    shapes = [f"{prompt}-token input / {output}-token output" for prompt, output in sorted(sizes)]
    mix = [one.name for one in getattr(workload, "mix", ())]
    told = f"a mix of {', '.join(mix)}" if mix else " or ".join(shapes)
    kind = [] if workload.type == "random" else [workload.type]
    ends = ["ignore_eos"] if getattr(workload, "ignore_eos", False) else []
    return ", ".join([*kind, told, *ends, f"seed {plan.seed}"])


def _length(own: Lengths | None, workload: Any, side: str) -> str:
    """Of the stage, else of the workload; a file says its lengths itself."""
    length = own or getattr(workload, side, None)
    return "as the file says" if length is None else str(getattr(length, "text", length))


def load_pattern(plan: Plan) -> str:
    """For example ``closed loop at concurrency 1, 2, 4``."""
    levels: dict[str, list[str]] = {}
    for stage in plan.scenario.stages:
        load = stage.load
        level = str(load.concurrency) if isinstance(load, ClosedLoop) else load.text
        levels.setdefault(_PATTERNS.get(load.type, load.type), []).append(level)
    return "; ".join(f"{kind} {', '.join(dict.fromkeys(texts))}" for kind, texts in levels.items())


#: How a kind of load is introduced.
_PATTERNS = {
    "closed": "closed loop at concurrency",
    "users": "closed loop of",
    "open": "open loop at requests/s of",
    "trace": "trace at requests/s of",
}


# --- this machine ----------------------------------------------------------------------------------------------------


def _client() -> Known:
    machine = calibrated.this_machine()
    memory = _memory_bytes()
    parts = [
        machine.cpu,
        f"{machine.cpus} CPUs",
        *([f"{memory / _GIB:.0f} GiB"] if memory else []),
        f"{platform.system()} {machine.kernel}",
        f"Python {machine.python}",
    ]
    return Known(", ".join(parts), "this machine")


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _commit(folder: Path) -> dict[str, Known]:
    """Of the repository in which the command was given: where the plan and the notes of a benchmark are kept."""
    sha = _said("git", "-C", str(folder), "rev-parse", "--short=12", "HEAD")
    if not sha:
        return {}
    changed = _said("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": Known(f"{sha} (with changes)" if changed else sha, "git")}


def _kubernetes() -> dict[str, Known]:
    """The cluster that this program runs in, or the one that KUBECONFIG names. Elsewhere it would be a guess."""
    version, source = _in_cluster(), "the API server of the cluster that the client runs in"
    if version is None and os.environ.get("KUBECONFIG") and shutil.which("kubectl"):
        try:
            answer = json.loads(_said("kubectl", "version", "-o", "json", f"--request-timeout={LIMIT_S:.0f}s") or "{}")
            version, source = text(answer.get("serverVersion"), "gitVersion"), "kubectl, by KUBECONFIG"
        except (ValueError, AttributeError):
            version = None
    return {"kubernetes": Known(version, source)} if version else {}


def _in_cluster(environ: Mapping[str, str] = os.environ, account: Path = _SERVICE_ACCOUNT) -> str | None:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        return None
    host = f"[{host}]" if ":" in host else host
    reach = Target(
        base_url=f"https://{host}:{port}", api_key_file=str(account / "token"), ca_file=str(account / "ca.crt")
    )
    return text(asked(reach, "/version").content, "gitVersion")


def _said(*words: str) -> str | None:
    """What a program prints; None if it is not there, fails or is silent for long."""
    try:
        done = subprocess.run(  # noqa: S603 (words of our own)
            words, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# --- GPUs and pages of metrics ---------------------------------------------------------------------------------------


def _gpus(target: Target, pages: Sequence[Sample]) -> dict[str, Known]:
    """Of the DCGM exporter if one was named, else of this machine if the server runs on it, or the plan says so."""
    told = (sample.labels for sample in pages if sample.name == "DCGM_FI_DEV_GPU_UTIL")
    # A device is one, however many pods or MIG instances repeat it.
    exported = {labels.get("UUID") or (labels.get("Hostname"), labels.get("gpu")): labels for labels in told}.values()
    models = [labels["modelName"] for labels in exported if labels.get("modelName")]
    if models:
        drivers = sorted({version for labels in exported if (version := labels.get("DCGM_FI_DRIVER_VERSION"))})
        known = {"gpu": Known(_counted(models), "DCGM exporter")}
        return known | ({"driver": Known(", ".join(drivers), "DCGM exporter")} if drivers else {})
    if not (gpu.wanted(target.telemetry.gpu, target.base_url) and gpu.is_there()):
        return {}
    found = gpu.gpus()
    names = [f"{one.name} ({one.memory_bytes / _GIB:.0f} GiB)" if one.memory_bytes else one.name for one in found]
    cuda = gpu.cuda_version() if found else None
    return {
        **({"gpu": Known(_counted(names), "nvidia-smi")} if names else {}),
        **({"driver": Known(", ".join(sorted({one.driver for one in found})), "nvidia-smi")} if found else {}),
        **({"cuda": Known(cuda, "nvidia-smi (the version that the driver supports)")} if cuda else {}),
    }


def _counted(names: Sequence[str]) -> str:
    """``2x NVIDIA L4 (23 GiB)``."""
    return ", ".join(f"{names.count(name)}x {name}" for name in dict.fromkeys(names))


def _cache(pages: Sequence[Sample]) -> dict[str, Known]:
    """What vLLM says of its cache: the only arguments that it tells by default."""
    labels = info(pages, "vllm:cache_config_info")
    told = [f"{name}={labels[name]}" for name in _CACHE_ARGUMENTS if labels.get(name, "None") != "None"]
    return {"server_args": Known(" ".join(told), "vllm:cache_config_info")} if told else {}
