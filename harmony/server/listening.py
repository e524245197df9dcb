"""Where the server listens: sockets on every address of a host, and the URL that leads to them."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Final

from harmony.errors import UsageError

_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES: Final = 20  # ports that are free on one address, to find one that is free on all


class Listening:
    """Sockets on the addresses of `host`, on which nobody listens yet; port 0 takes one that is free on all.

    localhost is IPv4 and IPv6, where this machine has both, and so is `::`. Raises UsageError when no
    address can be had, or the port is taken on one.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._open = ExitStack()
        try:
            self.sockets = self._bind(port)
        except (OSError, OverflowError, ValueError) as error:
            raise UsageError(f"{host} port {port} cannot be used ({error}); choose another --port") from None

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        """What clients of OpenAI take as their base."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.sockets[0].getsockname()[1]}/v1"

    @property
    def reaches_others(self) -> bool:
        """Whether other machines can reach it."""
        return not all(ip_address(bound.getsockname()[0]).is_loopback for bound in self.sockets)

    def _bind(self, port: int, tries: int = _TRIES) -> list[socket.socket]:
        """One socket for each address that there is on this machine; all have one port."""
        given, missing, sockets = port, None, list[socket.socket]()
        for address in _addresses(self._host):
            try:
                sockets.append(self._open.enter_context(_bound(address, port)))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    self._open.close()
                    if given == 0 and sockets and tries > 1:
                        return self._bind(0, tries - 1)
                    raise
                missing = error
            else:
                port = sockets[-1].getsockname()[1]
        if not sockets:
            raise missing or OSError("it has no address")
        return sockets


def _addresses(host: str) -> list[str]:
    if host == "localhost":  # as RFC 6761 says, whatever a hosts file leaves out
        return ["127.0.0.1", "::1"]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    tcp = socket.IPPROTO_TCP  # by name, as asyncio sends at once only on sockets that say it
    bound = socket.socket(family, socket.SOCK_STREAM, tcp)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        bound.bind((address, port))
    except (OSError, OverflowError):
        bound.close()
        raise
    return bound
