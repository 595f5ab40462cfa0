"""The same sweep with Inferometer and with ``vllm bench serve`` on one vLLM server, its counters beside both.

    python benchmarks/validation/beside.py --model NAME --tokenizer DIR --vllm "vllm bench serve" --out DIR

Prints two tables in Markdown: means in ms of each client and, after the slash, of the server's own histograms over the
same stage. ``docs/validation.md`` has such tables of a vLLM on an H100. The other client's stages are bracketed by two
reads of /metrics, so the request with which it tests the server first is in the server's figures, if it sends one.
"""

import argparse
import json
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

from inferometer.telemetry.prometheus import parse

HISTOGRAMS = {
    "ttft": "vllm:time_to_first_token_seconds",
    "tpot": "vllm:request_time_per_output_token_seconds",
    "e2el": "vllm:e2e_request_latency_seconds",
}
TOTALS = {"out": "vllm:generation_tokens_total", "cached": "vllm:prefix_cache_hits_total"}


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    ours = inferometer(args)
    heads = ("concurrency", "req/s", "TTFT", "TPOT", "E2EL", "tokens out", "prompt tokens cached")
    print("\nInferometer, client / server\n", table(heads, ours), sep="\n")
    if args.vllm:
        theirs = [vllm_bench(args, level) for level in args.max_concurrency]
        print("\nvllm bench serve, client / server\n", table(heads, theirs), sep="\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--vllm", default="", help="how `vllm bench serve` is called; without it only one table")
    parser.add_argument("--max-concurrency", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--input-len", type=int, default=256)
    parser.add_argument("--template-len", type=int, default=0, help="what the chat template adds, which it leaves out")
    parser.add_argument("--output-len", type=int, default=128)
    parser.add_argument("--seed", type=int, default=42, help="of the first level; the other client's go on from it")
    parser.add_argument("--same-seed", action="store_true", help="the other client has this seed at every level")
    parser.add_argument("--out", type=Path, default=Path("beside"))
    return parser.parse_args()


def inferometer(args: argparse.Namespace) -> list[list[str]]:
    levels = [str(level) for level in args.max_concurrency]
    command = [
        *(sys.executable, "-c", "from inferometer.cli import main; raise SystemExit(main())", "run", "--ignore-eos"),
        *("--base-url", args.base_url, "--model", args.model, "--tokenizer", args.tokenizer),
        *("--random-input-len", str(args.input_len), "--random-output-len", str(args.output_len)),
        *("--seed", str(args.seed), "--run-dir", str(args.out / "inferometer"), "--max-concurrency", *levels),
    ]
    with (args.out / "inferometer.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log)
    summary = json.loads((args.out / "inferometer" / "summary.json").read_text())
    return [our_row(stage) for stage in summary["stages"]]


def our_row(stage: dict) -> list[str]:
    server = stage["server"]
    compared, counters = server["compared"], server["engines"]["vllm"]["counters"]
    pairs = [beside(compared[name]["client_mean_ms"], compared[name]["server_mean_ms"]) for name in HISTOGRAMS]
    out = compared["output_tokens"]
    cached = counters.get("prefix_cache_hits_tokens", {}).get("gain", 0)
    rate = stage["throughput"]["requests_per_s"]
    tokens = f"{out['client']:,.0f} / {out['server']:,.0f}"
    return [str(stage["load"]["concurrency"]), f"{rate:.1f}", *pairs, tokens, f"{cached:,.0f}"]


def vllm_bench(args: argparse.Namespace, level: int) -> list[str]:
    name = f"vllm-c{level}.json"
    seed = args.seed if args.same_seed else args.seed + level
    command = [
        *shlex.split(args.vllm),
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--base-url", args.base_url),
        *("--model", args.model, "--tokenizer", args.tokenizer, "--dataset-name", "random", "--ignore-eos"),
        *("--random-input-len", str(args.input_len - args.template_len), "--random-output-len", str(args.output_len)),
        *("--num-prompts", str(min(20 * level, 320)), "--max-concurrency", str(level), "--request-rate", "inf"),
        *("--seed", str(seed), "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result"),
        *("--result-dir", str(args.out), "--result-filename", name),
    ]
    before = counters_of(args.base_url)
    with (args.out / f"vllm-c{level}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    after = counters_of(args.base_url)
    gains = {key: value - before.get(key, 0.0) for key, value in after.items()}
    told = json.loads((args.out / name).read_text())
    pairs = [beside(told[f"mean_{short}_ms"], mean_ms(gains, long)) for short, long in HISTOGRAMS.items()]
    tokens = f"{told['total_output_tokens']:,} / {gains[TOTALS['out']]:,.0f}"
    return [str(level), f"{told['request_throughput']:.1f}", *pairs, tokens, f"{gains.get(TOTALS['cached'], 0):,.0f}"]


def counters_of(base_url: str) -> dict[str, float]:
    """Sums over all series of each name; buckets are left out."""
    with urllib.request.urlopen(f"{base_url.rstrip('/')}/metrics", timeout=10) as answer:
        page = parse(answer.read().decode())
    found: dict[str, float] = {}
    for sample in page.samples:
        if "le" not in sample.labels:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def mean_ms(gains: dict[str, float], name: str) -> float:
    return 1e3 * gains[f"{name}_sum"] / gains[f"{name}_count"]


def beside(client: float, server: float) -> str:
    return f"{client:.1f} / {server:.1f}" if client >= 20 else f"{client:.2f} / {server:.2f}"


def table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
