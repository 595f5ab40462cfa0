"""A real model behind the real llama.cpp HTTP server, on this machine's CPU and on loopback only.

``python -m inferometer.engine.llamacpp [GGUF] --port 0`` prints ``listening on http://127.0.0.1:PORT`` when it is ready
and ends on SIGTERM or SIGINT. It needs the wheel ``xllamacpp``, which has no command of its own.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from inferometer.engine.parent import die_with
from inferometer.engine.weights import smollm2
from inferometer.errors import UserError
from inferometer.telemetry.machine import cpus

ALIAS = "smollm2-135m"

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}

#: One thread serves one open connection: with fewer threads than clients, streams wait where no metric sees it.
HTTP_THREADS = 64


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code is 0, or 2 after a sentence on stderr."""
    options = _arguments().parse_args(argv)
    # Before the server makes its threads: they inherit the mask, so that only sigwait sees these signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        if options.die_with_parent is not None:
            die_with(options.die_with_parent, signal.SIGKILL)
        server = serve(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    signal.sigwait(STOP_SIGNALS)
    return 0


def serve(options: argparse.Namespace) -> Any:
    """Load the model and start the server's threads; its ``listening_address`` is http://127.0.0.1:PORT.

    Raises:
        UserError: xllamacpp is not installed, or it could not load the model or take the port.
    """
    try:
        import xllamacpp
    except ImportError as error:
        raise missing() from error
    path = options.gguf or smollm2(lambda line: sys.stderr.write(f"{line}\n"))
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {
        options.alias or (path.stem if options.gguf else ALIAS)
    }  # a set: a server may have several names
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.context
    params.cpuparams.n_threads = options.threads
    params.n_threads_http = HTTP_THREADS
    params.endpoint_metrics = True  # /metrics answers 501 without it
    params.endpoint_slots = True
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(
            f"llama.cpp could not serve {path} on port {options.port}, for the reason in its lines above; "
            "is it a GGUF file that fits into memory, and is the port free?"
        ) from error


def missing() -> UserError:
    """What to say when the engine is not installed."""
    return UserError("the llama.cpp engine is not installed (no module xllamacpp): pip install 'inferometer[engine]'")


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inferometer.engine.llamacpp", description="Serve a GGUF file on loopback."
    )
    parser.add_argument(
        "gguf", nargs="?", type=Path, metavar="GGUF", help="model file; default: SmolLM2-135M, fetched once"
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0: any free one (default)")
    parser.add_argument(
        "--slots", type=int, default=4, help="requests decoded together; they share the context (default 4)"
    )
    parser.add_argument("--context", type=int, default=8192, metavar="TOKENS", help="tokens of context (default 8192)")
    parser.add_argument("--threads", type=int, default=cpus(), help="threads that compute (default: the usable cores)")
    parser.add_argument(
        "--alias", metavar="NAME", help=f"model name to answer to (default {ALIAS}, or the file's name)"
    )
    parser.add_argument(
        "--die-with-parent",
        metavar="PID",
        type=int,
        nargs="?",
        const=0,
        help="end when the starting process is gone (Linux); with its PID, also where it went first",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
