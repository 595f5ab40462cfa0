"""The APIs that the simulator speaks, one row each: path -> how. Pure."""

from __future__ import annotations

from inferometer.simulator import anthropic, bodies, embeddings, events, generate, ollama, responses, tgi
from inferometer.simulator.streams import Dialect, next_events, whole_answer

DIALECTS: dict[bytes, Dialect] = {
    b"/v1/chat/completions": Dialect(events.CHAT, bodies.read_chat, next_events, whole_answer),
    b"/v1/completions": Dialect(events.COMPLETION, bodies.read_completion, next_events, whole_answer),
    b"/v1/responses": responses.DIALECT,
    b"/v1/messages": anthropic.DIALECT,
    b"/v1/embeddings": embeddings.DIALECT,
    b"/generate_stream": tgi.DIALECT,
    b"/generate": tgi.WHOLE,
    b"/api/chat": ollama.CHAT,
    b"/api/generate": ollama.GENERATE,
    b"/inference/v1/generate": generate.DIALECT,
}
