"""PNG files that carry more text than Pillow takes for good."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"iTXt", b"zTXt", b"tEXt")
_LONGEST = 1_000_000  # bytes of one text, decompressed; Pillow refuses files with longer ones
_LONGEST_TOGETHER = 32_000_000


def without_long_texts(path: Path) -> BytesIO | None:
    """A PNG file without the texts that are too long; None if there are none, or it is no PNG.

    The pixels do not depend on them, and no text is decompressed further than is allowed.
    """
    with path.open("rb") as file:
        if file.read(8) != _SIGNATURE:
            return None
        kept, dropped, start, total = [(0, 8)], False, 8, 0
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            end = start + size + 12
            length = _length(kind, file.read(size)) if kind in _TEXTS else 0
            total += length
            if length > _LONGEST or total > _LONGEST_TOGETHER:
                dropped, total = True, total - length
            else:
                kept.append((start, end))
            file.seek(end)
            start = end
        if not dropped:
            return None
    data = path.read_bytes()
    return BytesIO(b"".join(data[a:b] for a, b in kept) + data[start:])


def _length(kind: bytes, text: bytes) -> int:
    """Bytes of a text; of a longer one than allowed, any number above that."""
    _, _, rest = text.partition(b"\0")
    if kind == b"zTXt":
        compressed = rest[1:]
    elif kind == b"iTXt" and rest[:1] == b"\1":
        compressed = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return len(text)
    try:
        return len(zlib.decompressobj().decompress(compressed, _LONGEST + 1))
    except zlib.error:
        return len(text)
