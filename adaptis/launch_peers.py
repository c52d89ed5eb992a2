"""The launchers of several hosts hear of each other's end: MXNet's workers would wait for ever."""

from __future__ import annotations

import contextlib
import socket
import time

DONE = b"\xff"  # all went well; a connection that ends without it has failed
CONNECT_EVERY = 1  # seconds
# 60 s in all, as SILENT_SECONDS of adaptis.launch, until a host that says nothing counts as gone
KEEPALIVE = {
    socket.TCP_KEEPIDLE: 30,  # seconds without a word
    socket.TCP_KEEPINTVL: 10,
    socket.TCP_KEEPCNT: 3,  # questions, one an interval
}


class Peers:
    """This host's connections: of the first with each other one, of the others with the first,
    whose end they so hear of too.

    Parameters:
        hosts: names or addresses; [] where there is but this one.
        number: of hosts, the one this is.
        port: of the first, on which it listens.

    Raises OSError where the first can't listen.
    """

    def __init__(self, hosts: list[str], number: int, port: int):
        self._hosts, self._number, self._port = hosts, number, port
        self._links: dict[socket.socket, str | None] = {}  # -> host, None until it says which
        self._listener = None
        self._next_try = 0.0 if number else float("inf")
        if hosts and not number:
            self._listener = socket.create_server((hosts[0], port))
            self._listener.setblocking(False)

    def failed(self) -> str | None:
        """What has failed elsewhere by now, if anything has; to be asked often."""
        self._meet()
        for link, host in list(self._links.items()):
            try:
                said = link.recv(1)
            except BlockingIOError:
                continue
            except OSError as error:  # it crashed, or the network did
                self._drop(link)
                return f"the part on {host} is not to be reached: {error.strerror}"
            if host is None and said and said[0] < len(self._hosts):
                self._links[link] = self._hosts[said[0]]
                continue
            self._drop(link)
            if host is not None and said != DONE:
                return f"the part on {host} has ended; what it printed there says why"
        return None

    def close(self, is_done: bool = False) -> None:
        """End the connections; ``is_done``: this host's part is over and went well."""
        for link in list(self._links):
            if is_done:
                with contextlib.suppress(OSError):
                    link.sendall(DONE)
            self._drop(link)
        if self._listener:
            self._listener.close()
            self._listener = None

    def _meet(self) -> None:
        """Take in who has come; or go to the first, until it is there."""
        if self._listener:
            with contextlib.suppress(OSError):
                self._add(self._listener.accept()[0], None)
        elif time.monotonic() >= self._next_try and self._hosts:
            self._next_try = time.monotonic() + CONNECT_EVERY
            with contextlib.suppress(OSError):
                address = self._hosts[0], self._port
                link = socket.create_connection(address, timeout=CONNECT_EVERY)
                link.sendall(bytes([self._number]))
                self._add(link, self._hosts[0])
                self._next_try = float("inf")

    def _add(self, link: socket.socket, host: str | None) -> None:
        link.setblocking(False)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            link.setsockopt(socket.IPPROTO_TCP, option, value)
        self._links[link] = host

    def _drop(self, link: socket.socket) -> None:
        link.close()
        del self._links[link]
