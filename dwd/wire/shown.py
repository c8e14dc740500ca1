r"""Names and text as people may see them: one line, no control of the terminal, always encodable.

A name is bytes (D1, promise 5). shown_name() is reversible: a backslash is doubled, what is not
printable becomes \xNN, so two names never look the same. shown_text() is for text that is already
meant to be read: it only takes the harm out, and doing it twice changes nothing.
"""

import re
import sys
from typing import Final

_WRITTEN: Final = re.compile(
    r"\\(?:(?P<itself>\\)|x(?P<byte>[0-9a-f]{2})|u(?P<two>[0-9a-f]{4})|U(?P<four>[0-9a-f]{8}))"
)
_ESCAPED_BYTES: Final = range(0xDC80, 0xDD00)  # how surrogateescape carries bytes that are no UTF-8
_ASCII: Final = range(0x80)
_TWO_BYTES: Final = range(0x1_0000)


def shown_name(name: bytes) -> str:
    """A file name or path, reversibly, on one line."""
    return "".join("\\\\" if char == "\\" else _shown(char) for char in name.decode("utf-8", "surrogateescape"))


def read_name(shown: str) -> bytes:
    """The name that shown_name() wrote. A backslash that it would not have written stands for itself."""
    raw, position = b"", 0
    for match in _WRITTEN.finditer(shown):
        raw += shown[position : match.start()].encode("utf-8", "surrogateescape") + _meant(match)
        position = match.end()
    return raw + shown[position:].encode("utf-8", "surrogateescape")


def _meant(match: re.Match[str]) -> bytes:
    if match["itself"]:
        return b"\\"
    if match["byte"]:
        return bytes.fromhex(match["byte"])
    point = int(match["two"] or match["four"], 16)
    return chr(point).encode("utf-8", "surrogatepass") if point <= sys.maxunicode else match[0].encode()


def shown_text(text: str) -> str:
    """Text with every unprintable character (also surrogates, line ends, bidirectional marks) escaped."""
    return text if text.isprintable() else "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char.isprintable():
        return char
    point = ord(char)
    if point in _ESCAPED_BYTES:
        return f"\\x{point - 0xDC00:02x}"
    if point in _ASCII:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point in _TWO_BYTES else f"\\U{point:08x}"
