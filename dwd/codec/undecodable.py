"""What msgspec raises for bytes that are not what they should be. Not all of it is a MsgspecError."""

from typing import Final

import msgspec

UNDECODABLE: Final = (
    msgspec.MsgspecError,
    RecursionError,  # nested too deep
    UnicodeDecodeError,  # text that is not UTF-8, in an array
)
