r"""Names and text as people may see them: one line, no control of the terminal, always encodable.

A name is bytes (D1, promise 5). shown_name() is reversible: a backslash is doubled, what is not
printable becomes \xNN, so two names never look the same. shown_text() is for text that is already
meant to be read: it only takes the harm out, and doing it twice changes nothing.
"""

from typing import Final

_ESCAPED_BYTES: Final = range(0xDC80, 0xDD00)  # how surrogateescape carries bytes that are no UTF-8
_ASCII: Final = range(0x80)
_TWO_BYTES: Final = range(0x1_0000)


def shown_name(name: bytes) -> str:
    """A file name or path, reversibly, on one line."""
    return "".join("\\\\" if char == "\\" else _shown(char) for char in name.decode("utf-8", "surrogateescape"))


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
