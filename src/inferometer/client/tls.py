"""The TLS of a target: whom it trusts and who it says it is."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TypeVar

from inferometer.config.models import Target
from inferometer.errors import UserError

T = TypeVar("T")


def context(target: Target) -> ssl.SSLContext:
    """A context that verifies the server unless told otherwise.

    Raises ``UserError`` with the file's name if a certificate or a key cannot be read.
    """
    made = _reading(target.ca_file, lambda: ssl.create_default_context(cafile=target.ca_file))
    if target.client_cert is not None:
        # an empty password: without one OpenSSL would ask for it on the terminal, in every worker
        _reading(
            target.client_cert, lambda: made.load_cert_chain(str(target.client_cert), target.client_key, password="")
        )
    if not target.verify_tls:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _reading(path: str | None, load: Callable[[], T]) -> T:
    try:
        return load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise UserError(f"the certificate file {path} cannot be used ({reason}): give a readable PEM file") from None
