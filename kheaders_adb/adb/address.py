"""Where the adb server listens, by adb's own flags and variables."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kheaders_adb.errors import UsageError

DEFAULT_PORT = 5037


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """An adb server's address: a TCP host and port, or a Unix socket.

    Attributes:
        host: host name or address; empty for a Unix socket.
        port: TCP port; 0 for a Unix socket.
        path: the Unix socket's path, with a leading NUL for an abstract one; None for TCP.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    path: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: loopback or a Unix socket.

        adb's host protocol has no authentication, so a server is only ever started on such an address.
        """
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """The address in adb's own notation, as ``adb -L`` takes it."""
        if self.path is not None:
            if self.path.startswith("\0"):
                return f"localabstract:{self.path[1:]}"
            return f"localfilesystem:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp:{host}:{self.port}"


def parse_port(text: str, source: str) -> int:
    """A TCP port from `text`; `source` names where it came from in the UsageError."""
    if not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= 65535):
        raise UsageError(
            f"{source}: {text!r} is not a TCP port", hint="give a number from 1 to 65535"
        )
    return int(text)


def parse_socket_spec(spec: str, source: str) -> ServerAddress:
    """An address in adb's notation: ``tcp:[HOST:]PORT``, ``localfilesystem:PATH``, ``localabstract:NAME``.

    Raises:
        UsageError: the text is none of these; `source` names the flag or variable it came from.
    """
    scheme, _, rest = spec.partition(":")
    if scheme == "tcp" and rest:
        host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        return ServerAddress(host=host or "localhost", port=parse_port(port, source))
    if scheme in ("localfilesystem", "local") and rest:
        return ServerAddress(host="", port=0, path=rest)
    if scheme == "localabstract" and rest:
        return ServerAddress(host="", port=0, path="\0" + rest)
    raise UsageError(
        f"{source}: {spec!r} is not an adb server socket",
        hint="use tcp:HOST:PORT, localfilesystem:PATH or localabstract:NAME",
    )


def resolve_address(
    *,
    host: str | None = None,
    port: int | None = None,
    socket: str | None = None,
    environ: Mapping[str, str],
) -> ServerAddress:
    """The server's address as adb itself would find it.

    Any of the flags ``-H``, ``-P`` and ``-L`` switches every variable off; else ``ADB_SERVER_SOCKET``
    counts, else ``ANDROID_ADB_SERVER_ADDRESS`` and ``ANDROID_ADB_SERVER_PORT``.  adbutils calls the first of
    these ``ANDROID_ADB_SERVER_HOST``, which counts where nothing else names a host.

    Args:
        host, port, socket: the values of ``-H``, ``-P`` and ``-L``, or None.
        environ: the process's environment.

    Raises:
        UsageError: a value cannot be understood, or ``-L`` is given with ``-H`` or ``-P``.
    """
    if socket is not None:
        if host is not None or port is not None:
            raise UsageError("-L names the whole address", hint="leave out -H and -P, or -L")
        return parse_socket_spec(socket, "-L")
    if host is not None or port is not None:
        if port is not None:
            parse_port(str(port), "-P")
        return ServerAddress(host=host or "localhost", port=port or DEFAULT_PORT)
    if spec := environ.get("ADB_SERVER_SOCKET"):
        return parse_socket_spec(spec, "ADB_SERVER_SOCKET")
    text = environ.get("ANDROID_ADB_SERVER_PORT")
    return ServerAddress(
        host=environ.get("ANDROID_ADB_SERVER_ADDRESS")
        or environ.get("ANDROID_ADB_SERVER_HOST")
        or "localhost",
        port=parse_port(text, "ANDROID_ADB_SERVER_PORT") if text else DEFAULT_PORT,
    )
