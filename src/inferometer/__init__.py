"""Inferometer measures LLM inference servers, and states its own error."""

__version__ = "0.1.0"
