"""How long anything may be cached, and when the kernel's copies have run out.

Alone on the volume (exclusive), answers may be cached for CACHE_LIFETIME_S. After a recall nothing is
cached any more, and the recall is answered once all that was handed out before has expired.
"""

from typing import Final

CACHE_LIFETIME_S: Final = 5.0  # of names, absent names and attributes in the kernel: how long a recall may take


class Coherence:
    """The state of one mount: exclusive until told otherwise. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.exclusive = False
        self._expires = 0.0

    def lifetime(self, now: float) -> float:
        """How long the kernel may cache the answer that is given now."""
        if not self.exclusive:
            return 0.0
        self._expires = now + CACHE_LIFETIME_S
        return CACHE_LIFETIME_S

    def welcome(self, *, exclusive: bool) -> None:
        """The daemon says whether other mounts change the volume."""
        self.exclusive = exclusive

    def recall(self) -> None:
        """Nothing is cached from now on."""
        self.exclusive = False

    def expires(self) -> float:
        """When the kernel will have forgotten all that it was allowed to cache."""
        return self._expires
