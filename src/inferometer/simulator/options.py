"""The simulator's flags, for both of its commands."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import msgspec

from inferometer.engine.parent import die_with
from inferometer.errors import UserError
from inferometer.simulator.exact import Timeline
from inferometer.simulator.fault_specs import read_file, read_spec
from inferometer.simulator.faults import KINDS, Fault
from inferometer.simulator.listening import run
from inferometer.simulator.model import Profile
from inferometer.simulator.profiles import PROFILES
from inferometer.simulator.replicas import ROUTINGS
from inferometer.simulator.server import Settings

DEFAULT_PROFILE = "l4-qwen2.5-0.5b"
DEFAULT_MODEL = "simulated"
_EXACT_DEFAULTS = {"ttft_ms": 50.0, "itl_ms": 10.0, "tokens_per_event": 1}
_EXACT_MODEL_LEN = 131_072
_ROUTING = "round-robin"
_SESSION_HEADER = "x-session-id"
_LAST_PORT = 65_535


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the simulator's flags to a parser."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8000, help="port to listen on, 0 for a free one (%(default)s)")
    names = f"names of the models, the default one first ({DEFAULT_MODEL}); may be repeated"
    add("--model", nargs="+", action="extend", help=names)
    add("--profile", choices=sorted(PROFILES), help=f"engine to imitate ({DEFAULT_PROFILE})")
    add("--exact", action="store_true", help="play a known timeline instead of an engine, whatever the load")
    add("--ttft-ms", type=float, help="with --exact: from the request to the first token (50)")
    add("--itl-ms", type=float, help="with --exact: from token to token (10)")
    add("--tokens-per-event", type=int, help="with --exact: tokens in each event (1)")
    add("--seed", type=int, default=0, help="seed of answers, jitter and shares of faults (%(default)s)")
    add("--max-model-len", type=int, help="longest prompt and answer together, in tokens")
    add("--max-num-seqs", type=int, help="sequences in one batch")
    add("--num-gpu-blocks", type=int, help="blocks of 16 tokens in the KV cache")
    add("--replicas", type=int, default=1, help="engines behind the address, each with its own cache (%(default)s)")
    add("--routing", choices=list(ROUTINGS), help=f"how requests find a replica ({_ROUTING})")
    add("--session-header", metavar="NAME", help=f"with --routing sticky: what names a session ({_SESSION_HEADER})")
    add("--api-key-env", metavar="NAME", help="environment variable with the key that clients must send")
    add("--log-served", metavar="FILE", help="append when each event was due and written, one JSON line per request")
    add("--fault", metavar="SPEC", action="append", default=[], help=f"misbehave, may be repeated: {', '.join(KINDS)}")
    add("--faults", metavar="FILE", help="faults as a YAML list, after those of --fault")
    parent = "end when the process that started this one ends (Linux); with its PID, also where it ended first"
    add("--die-with-parent", metavar="PID", type=int, nargs="?", const=0, help=parent)


def settings(args: argparse.Namespace) -> Settings:
    """Check the flags.

    Raises:
        UserError: if a value is impossible or two flags exclude each other.
    """
    if not 0 <= args.port <= _LAST_PORT:
        raise UserError(f"--port is {args.port}: it must be from 0 to {_LAST_PORT}")
    mode = _timeline(args) if args.exact else _profile(args)
    max_model_len = mode.max_model_len if isinstance(mode, Profile) else args.max_model_len or _EXACT_MODEL_LEN
    model, *others = dict.fromkeys(args.model or [DEFAULT_MODEL])
    return Settings(
        host=args.host,
        port=args.port,
        model=model,
        other_models=tuple(others),
        mode=mode,
        max_model_len=max_model_len,
        seed=args.seed,
        api_key=_api_key(args.api_key_env),
        log_served=args.log_served,
        replicas=_replicas(args),
        routing=args.routing or _ROUTING,
        session_header=(args.session_header or _SESSION_HEADER).lower(),
        faults=_faults(args, mode, (model, *others)),
    )


def main(args: argparse.Namespace) -> int:
    """Serve as the flags say, until a signal; returns the exit code."""
    chosen = settings(args)
    if args.die_with_parent is not None:
        die_with(args.die_with_parent, signal.SIGTERM)
    return run(chosen)


def _timeline(args: argparse.Namespace) -> Timeline:
    for flag in ("profile", "max_num_seqs", "num_gpu_blocks"):
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag.replace('_', '-')} describes an engine and --exact plays none: leave one out")
    _positive(args, "max_model_len")
    values = {name: getattr(args, name) for name in _EXACT_DEFAULTS}
    values = {name: default if values[name] is None else values[name] for name, default in _EXACT_DEFAULTS.items()}
    if not (0 <= values["ttft_ms"] < 1e9 and 0 <= values["itl_ms"] < 1e9 and values["tokens_per_event"] >= 1):
        raise UserError("--exact needs --ttft-ms and --itl-ms of at least 0 and --tokens-per-event of at least 1")
    return Timeline(
        ttft_ns=round(values["ttft_ms"] * 1e6),
        itl_ns=round(values["itl_ms"] * 1e6),
        tokens_per_event=values["tokens_per_event"],
    )


def _profile(args: argparse.Namespace) -> Profile:
    for flag in _EXACT_DEFAULTS:
        if getattr(args, flag) is not None:
            raise UserError(f"--{flag.replace('_', '-')} belongs to --exact: add --exact or leave it out")
    _positive(args, "max_model_len", "max_num_seqs", "num_gpu_blocks")
    changes = {name: getattr(args, name) for name in ("max_model_len", "max_num_seqs", "num_gpu_blocks")}
    profile = msgspec.structs.replace(
        PROFILES[args.profile or DEFAULT_PROFILE], **{name: value for name, value in changes.items() if value}
    )
    cache_tokens = profile.num_gpu_blocks * profile.block_tokens
    if profile.max_model_len > cache_tokens:
        raise UserError(
            f"a request may have {profile.max_model_len} tokens and the KV cache holds {cache_tokens}:"
            " lower --max-model-len or raise --num-gpu-blocks"
        )
    return profile


def _replicas(args: argparse.Namespace) -> int:
    _positive(args, "replicas")
    if args.replicas == 1 and args.routing is not None:
        raise UserError("--routing chooses between replicas and there is one: add --replicas with 2 or more")
    if args.session_header is not None and args.routing != "sticky":
        raise UserError("--session-header belongs to --routing sticky: add that or leave it out")
    if args.exact and args.routing == "prefix":
        raise UserError("--routing prefix needs engines with a KV cache and --exact plays none: leave one out")
    return int(args.replicas)


def _faults(args: argparse.Namespace, mode: Profile | Timeline, models: tuple[str, ...]) -> tuple[Fault, ...]:
    faults = [read_spec(spec) for spec in args.fault] + (read_file(Path(args.faults)) if args.faults else [])
    for fault in faults:
        if fault.model not in (None, *models):
            raise UserError(f"a fault is for the model {fault.model!r}, and {', '.join(models)} is served: name that")
        if fault.kind != "memory_pressure":
            continue
        if isinstance(mode, Timeline):
            raise UserError("memory_pressure needs an engine with a KV cache and --exact plays none: leave one out")
        if (fault.blocks or 0) > mode.num_gpu_blocks:
            raise UserError(
                f"memory_pressure leaves {fault.blocks} blocks of a KV cache of {mode.num_gpu_blocks}: leave fewer"
            )
    return tuple(faults)


def _positive(args: argparse.Namespace, *flags: str) -> None:
    for flag in flags:
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag.replace('_', '-')} is {value}: it must be at least 1")


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise UserError(f"--api-key-env names {variable}, which is not set: export it, or leave the flag out")
    return key
