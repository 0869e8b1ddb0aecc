"""What tests of real servers share: ports, and secrets that must never show."""

import socket

ADMIN, DATABASE, KEY = "the-admins-password-1", "the-databases-password-2", "the-stores-key-3"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
