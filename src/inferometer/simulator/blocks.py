"""KV-cache blocks of an engine: allocation, sharing of equal prefixes, eviction of the least recently used. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

#: A block held by a sequence: its content hash once it is full and shared, None while it is the sequence's own.
Block = bytes | None


def chain_hashes(token_ids: Sequence[int], block_tokens: int) -> tuple[bytes, ...]:
    """Hashes of the full blocks of a text, each over its tokens and the hash before it.

    Equal in every process and on every machine, so that routers and tests may compute them too.

    Args:
        token_ids: ids from 0 to 2**32 - 1.
        block_tokens: tokens per block; an incomplete last block has no hash.
    """
    full = len(token_ids) // block_tokens
    data = struct.pack(f"<{full * block_tokens}I", *token_ids[: full * block_tokens])
    size_bytes = 4 * block_tokens
    hashes = []
    last = b""
    for start in range(0, len(data), size_bytes):
        last = blake2b(last + data[start : start + size_bytes], digest_size=8).digest()
        hashes.append(last)
    return tuple(hashes)


class BlockPool:
    """Counts blocks instead of holding them: only which hashes are cached, by how many used, matters here."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = num_blocks
        self._references: dict[bytes, int] = {}
        self._idle: dict[bytes, None] = {}  # cached and unused, oldest first

    @property
    def used(self) -> int:
        """Blocks held by sequences; cached blocks that nobody holds count as free, as in vLLM."""
        return self.num_blocks - self._free - len(self._idle)

    def match(self, hashes: Iterable[bytes]) -> int:
        """How many of the first hashes are cached without a gap."""
        count = 0
        for block in hashes:
            if block not in self._references:
                break
            count += 1
        return count

    def hold(self, hashes: Iterable[bytes]) -> None:
        """Share cached blocks; each must be cached."""
        for block in hashes:
            self._references[block] += 1
            self._idle.pop(block, None)

    def take(self, count: int) -> bool:
        """Allocate ``count`` blocks, evicting idle ones if needed; False, and nothing taken, if too few."""
        if count > self._free + len(self._idle):
            return False
        while self._free < count:
            oldest = next(iter(self._idle))
            del self._idle[oldest], self._references[oldest]
            self._free += 1
        self._free -= count
        return True

    def publish(self, block: bytes) -> bool:
        """Make a held block, now full, findable by its hash; False if an equal one already is."""
        if block in self._references:
            return False
        self._references[block] = 1
        return True

    def release(self, blocks: Sequence[Block]) -> None:
        """Give back held blocks; the tail of a sequence becomes evictable before its head."""
        for block in reversed(blocks):
            if block is None:
                self._free += 1
                continue
            self._references[block] -= 1
            if not self._references[block]:
                self._idle[block] = None
