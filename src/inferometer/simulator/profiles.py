"""Engines to imitate, as data. A profile is fitted to published measurements, which its comment names."""

from __future__ import annotations

from inferometer.simulator.model import Profile

PROFILES: dict[str, Profile] = {
    # Qwen2.5-0.5B-Instruct in BF16 on one NVIDIA L4 with vLLM 0.23.0, 256 tokens in, 128 out, closed loop at
    # concurrency 1 to 32: https://ai.wmx.dev benchmark results, commit 8e78aaa; the table is in its test.
    # Fitted: batch, frontend, step, sequence, prefill, jitter (from the published p50 and p95 of ITL).
    # Derived: 12,288 bytes of KV per token read at 300 GB/s; a peak use of 1.1 % by 31 sequences of 24 blocks.
    "l4-qwen2.5-0.5b": Profile(
        max_num_seqs=256,
        max_batch_tokens=4608,
        num_gpu_blocks=66_000,
        max_model_len=8192,
        frontend_ns=25_600_000,
        frontend_serial_ns=670_000,
        step_ns=5_130_000,
        per_sequence_ns=48_400,
        per_prefill_token_ns=17_400,
        per_context_token_ns=41,
        jitter=0.12,
    ),
}
