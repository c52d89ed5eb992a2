"""Where the demo listens, and whose requests it answers there."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from adaptis.errors import AdaptISError

OF_PORT: dict[int | None, str] = {errno.EADDRINUSE: "in use", errno.EACCES: "not allowed"}


class HostError(AdaptISError):
    """The server can't listen at a host or port; says which and what to do."""


def is_local(host: str) -> bool:
    """Whether a name or address, without brackets, is one that this machine alone can reach."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def address_of(host: str, port: int) -> str:
    """The page's address, with IPv6 in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at all addresses of a host that this machine has, at least one.

    Raises HostError where there is none, or the port is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        problem = getattr(error, "strerror", None) or "no name of a host"
        raise HostError(f"--host {host}: {problem}; choose another") from error
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    for family, address in dict.fromkeys((family, address[:2]) for family, *_, address in found):
        try:
            sockets.append(socket.create_server(address, family=family))
        except OSError as error:  # also of "localhost" as IPv6, where a machine has none
            failures.append(error)
    for error in failures:
        if not sockets or error.errno in OF_PORT:
            for opened in sockets:
                opened.close()
            option = f"--port {port}" if error.errno in OF_PORT else f"--host {host}"
            problem = OF_PORT.get(error.errno) or os.strerror(error.errno or 0)
            raise HostError(f"{option}: {problem}; choose another") from error
    return sockets


class Guard:
    """Middleware that refuses, in words, what only another site's page or a broken client asks."""

    def __init__(self, app: ASGIApp, host: str):
        """
        Parameters:
            app: what answers the others.
            host: where the server listens. If this machine alone can reach it, requests to other
                names are refused (DNS rebinding).
        """
        self.app, self.local = app, is_local(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            return await self.app(scope, receive, send)
        status, words = refusal
        await JSONResponse({"error": words}, status)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words; None for what is answered."""
        headers = Headers(scope=scope)
        host = _host_in(f"//{headers.get('host', '')}")
        if self.local and not is_local(host):
            return 400, f"{host!r} isn't the name of this server: open it as localhost"
        if scope["method"] == "POST":
            origin = headers.get("origin")
            if headers.get("sec-fetch-site") == "cross-site" or (
                origin is not None and not self._is_own(_host_in(origin), host)
            ):
                return 403, "pages of other sites can't change anything here: open the demo's own"
        if "\0" in scope["path"]:
            return 400, "the address has a null character"
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        return bool(origin) and (origin == host or (self.local and is_local(origin)))


def _host_in(address: str) -> str:
    """The host of an address, in small letters and without brackets; "" where there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:  # brackets that don't close, for example
        return ""
