"""Where the processes of a command take connections."""

import socket
from contextlib import suppress

import psutil

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def open_to(pid):
    """{(program, address, port)} at which a process or a descendant of it takes connections or datagrams."""
    found = set()
    with suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for at in process.net_connections("inet"):
                    if at.status == "LISTEN" or (at.type == socket.SOCK_DGRAM and not at.raddr):
                        found.add((process.name(), at.laddr.ip, at.laddr.port))
    return found
