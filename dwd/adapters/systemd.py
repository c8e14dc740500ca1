"""Tell systemd that the daemon is ready or stopping (sd_notify(3)); elsewhere this does nothing."""

import os
import socket


def notify(message: str) -> None:
    """Send a state line such as READY=1 to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(message.encode())
