"""A platform on loopback that costs little: the cores are there for what is measured.

    python -m benchmarks.programs.platform PORT [POSTS.jsonl]

`deadpan.demo.platform` has a thread for each connection, which is dear on two cores. This one
keeps all files in memory and answers from one event loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import unquote

from benchmarks.workload import Workload

_HEAD = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"


class _Connection(asyncio.Protocol):
    def __init__(self, workload: Workload, base_url: str) -> None:
        self._workload = workload
        self._base_url = base_url
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            request, self._received = self._received[:end], self._received[end + 4 :]
            path = request.split(b" ", 2)[1].decode("ascii")
            body, content_type = self._answer(path)
            status = b"200 OK" if body is not None else b"404 Not Found"
            body = body if body is not None else b"{}"
            self._transport.write(_HEAD % (status, content_type.encode(), len(body)) + body)

    def _answer(self, path: str) -> tuple[bytes | None, str]:
        if path.startswith("/posts?ids="):
            asked = path.removeprefix("/posts?ids=").split(",")
            posts = [self._workload.served(unquote(post_id), self._base_url) for post_id in asked]
            return json.dumps({"posts": [p for p in posts if p]}).encode(), "application/json"
        parts = path.strip("/").split("/")
        if len(parts) == 3 and parts[0] == "images" and parts[1].isdigit() and parts[2].isdigit():
            image = self._workload.image(int(parts[1]), int(parts[2]))
            if image:
                return image
        return None, "application/json"


async def serve(port: int, posts: Path | None) -> None:
    """Serve until the process is ended."""
    workload = Workload(posts)
    base_url = f"http://127.0.0.1:{port}"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(workload, base_url), "127.0.0.1", port, backlog=512
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
