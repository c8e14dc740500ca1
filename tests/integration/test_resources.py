"""What two hundred thousand files cost in memory, and that nothing grows with the number of requests."""

import pytest

from dwd.model.ids import RequestNumber
from dwd.wire.messages import Changed
from tests.integration.daemon import Daemon
from tests.integration.mount_client import make_file

FILES = 200_000
WINDOW = 200
RSS_MIB_MAX = 300


@pytest.mark.slow
def test_memory_stays_bounded_over_two_hundred_thousand_files(daemon: Daemon) -> None:
    """The daemon stays below 300 MiB at every thousandth file, and the last second costs what the first did."""
    client = daemon.client()
    peak = 0.0
    for start in range(0, FILES, WINDOW):
        requests = [client.mutation(make_file(b"file-%d" % i)) for i in range(start, start + WINDOW)]
        for correlation in client.send_many(requests):
            assert isinstance(client.answer_to(correlation).reply, Changed)
        if start % 1000 == 0:
            peak = max(peak, daemon.rss_mib())
    assert peak < RSS_MIB_MAX, peak
    assert client.answered() == RequestNumber(FILES)
    found = client.lookup(b"file-%d" % (FILES - 1))
    assert found is not None
