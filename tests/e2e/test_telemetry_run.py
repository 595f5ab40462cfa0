"""The server's side of a whole run: two replicas, one of them behind nobody, through the installed command."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from e2e.support import COMMAND, environment, simulating


def test_both_sides_of_every_stage_agree_and_the_key_is_nowhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with simulating("--model", "tiny") as url, simulating("--model", "tiny") as idle:
        flags = ["--base-url", url, "--metrics-url", f"{url}/metrics", f"{idle}/metrics", "--fact", "zone=here"]
        flags += ["--max-concurrency", "1", "4", "--num-prompts", "12", "--num-warmups", "3"]
        flags += ["--random-output-len", "16", "--telemetry-interval", "0.1"]
        done = subprocess.run(
            [COMMAND, "run", *flags, "--run-dir", str(run)],
            env=environment(OPENAI_API_KEY="sk-planted-key"),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    assert re.search(r"^-*Server: Inferometer simulator [0-9.]+-+$", done.stdout, re.MULTILINE)
    summary, context = (json.loads((run / name).read_text()) for name in ("summary.json", "context.json"))
    for stage in summary["stages"]:
        server = stage["server"]
        compared = {name: pair["difference"] for name, pair in server["compared"].items() if "difference" in pair}
        assert compared == {"prompt_tokens": 0, "output_tokens": 0, "requests_ok": 0}
        assert server["engines"]["vllm"]["histograms"]["ttft_s"]["count"] == 12
        assert server["compared"]["ttft"]["difference_ms"] > 0
        assert all(one["asked"] == one["answered"] for one in server["replicas"])
        assert server["notes"] == []
    assert context["run_context"]["engine"].startswith("Inferometer simulator")
    assert (context["run_context"]["zone"], context["run_context_sources"]["zone"]) == ("here", "told by the user")
    assert not list(run.glob("telemetry-*.arrow"))
    assert (run / "telemetry.parquet").exists()
    assert not [path.name for path in run.iterdir() if b"sk-planted-key" in path.read_bytes()]
