"""The host's messages while a graph runs: as much of RFC 6455 as reading them takes."""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator


def messages(port: int, client: str, timeout: float = 120) -> Iterator[dict | bytes]:
    """Connect now; yield what the host sends, JSON as dicts, previews as bytes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET /ws?clientId={client} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    )
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    stream = connection.makefile("rb")
    while stream.readline().strip():
        pass
    return _read(connection, stream)


def _read(connection, stream) -> Iterator[dict | bytes]:
    with connection:
        while True:
            content, kind = b"", 0
            while True:
                first, second = stream.read(2)
                length = second & 127
                if length > 125:
                    size, kind_of = (2, ">H") if length == 126 else (8, ">Q")
                    (length,) = struct.unpack(kind_of, stream.read(size))
                content += stream.read(length)
                kind = first & 15 or kind
                if first & 128:
                    break
            if kind == 1:
                yield json.loads(content)
            elif kind == 2:
                yield content
            elif kind == 8:
                return
