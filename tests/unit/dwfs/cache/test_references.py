"""Which orphans must stay alive."""

from dwd.model.ids import InodeNumber
from dwfs.cache.references import References

ONE = InodeNumber(1)


def test_an_orphan_lives_until_the_kernel_and_the_handles_let_go() -> None:
    """It is held while either knows it, and free after."""
    references = References()
    references.looked_up(ONE)
    references.looked_up(ONE)
    references.opened(ONE)
    references.orphaned([ONE])
    references.forgotten(ONE, 2)
    assert references.holding() == (ONE,)
    references.closed(ONE)
    assert references.holding() == ()
    assert references.take_free(10) == (ONE,)
    assert references.free_count() == 0


def test_an_orphan_that_nobody_knows_is_free_at_once() -> None:
    """Another mount's unlink of a file that is not open here."""
    references = References()
    references.orphaned([ONE])
    assert references.take_free(10) == (ONE,)


def test_a_file_with_a_name_is_never_freed() -> None:
    """Forgetting and closing say nothing about a file that has a name."""
    references = References()
    references.looked_up(ONE)
    references.opened(ONE)
    references.closed(ONE)
    references.forgotten(ONE, 1)
    assert references.free_count() == 0


def test_free_orphans_go_in_batches() -> None:
    """A batch is bounded, and the rest follows."""
    references = References()
    references.orphaned([InodeNumber(number) for number in range(5)])
    assert references.take_free(3) == (0, 1, 2)
    assert references.take_free(3) == (3, 4)
