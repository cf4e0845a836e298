"""A Hugging Face hub on this machine: repositories in memory, over HTTP as the hub's library asks for them; it breaks off, refuses and is slow when told.

Run as a program it offers the tiny preset `open` of a folder: `python tests/stand_in_hub.py --folder F --port P`.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHA = "f" * 40
LFS = (".safetensors", ".bin")


class StandInHub:
    """Args: repositories: name -> path -> bytes.

    Attributes:
        cuts: path -> after how many bytes each of the next answers ends, one entry an answer.
        refuses: repository, or its path of a file ("ada/original/unet.safetensors") -> HTTP status.
        pace: bytes a second; 0: as fast as it goes. ranges: whether it can go on in the middle.
        log: (path of a file, first byte, bytes sent) of every answer.
    """

    def __init__(self, repositories: Mapping[str, Mapping[str, bytes]]) -> None:
        self.repositories = {name: dict(files) for name, files in repositories.items()}
        self.cuts: dict[str, list[int]] = {}
        self.refuses: dict[str, int] = {}
        self.pace, self.ranges, self.log = 0, True, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self, True)

            def do_HEAD(self) -> None:
                hub._answer(self, False)

            def log_message(self, *_) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> StandInHub:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    def sent(self, path: str) -> int:
        """Bytes of a file that went out, in all answers together."""
        return sum(count for name, _, count in self.log if name == path)

    def _answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        address = request.path.partition("?")[0].strip("/")
        if address.startswith("api/models/"):
            self._listing(request, "/".join(address.split("/")[2:4]))
        else:
            repository, _, rest = address.partition("/resolve/")
            self._file(request, repository, rest.partition("/")[2], body)

    def _listing(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if name not in self.repositories or name in self.refuses:
            return self._refuse(request, self.refuses.get(name, 404))
        siblings = [{"rfilename": path, "size": len(data), "blobId": hashlib.sha1(data).hexdigest(),
                     **({"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}} if path.endswith(LFS) else {})}
                    for path, data in self.repositories[name].items()]
        data = json.dumps({"id": name, "modelId": name, "sha": SHA, "private": False, "gated": False, "disabled": False, "tags": [], "downloads": 0,
                           "likes": 0, "siblings": siblings}).encode()
        self._begin(request, 200, len(data))
        request.wfile.write(data)

    def _file(self, request: BaseHTTPRequestHandler, repository: str, path: str, body: bool) -> None:
        status = self.refuses.get(f"{repository}/{path}", 200 if path in self.repositories.get(repository, {}) else 404)
        if status != 200:
            return self._refuse(request, status)
        data, wanted = self.repositories[repository][path], request.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        rest = data[first:]
        self._begin(request, 206 if first else 200, len(rest), {"ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                                                               **({"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {})})
        if not body:
            return None
        most = self.cuts[path].pop(0) if self.cuts.get(path) else len(rest)
        self.log.append((path, first, 0))
        entry, step = len(self.log) - 1, max(1, self.pace // 10) if self.pace else 2**16
        for at in range(0, min(most, len(rest)), step):
            piece = rest[at:min(at + step, most)]
            try:
                request.wfile.write(piece)
                request.wfile.flush()
            except OSError:
                return None
            self.log[entry] = (path, first, at + len(piece))
            if self.pace:
                time.sleep(len(piece) / self.pace)
        if most < len(rest):
            request.close_connection = True
            request.connection.shutdown(2)
        return None

    @staticmethod
    def _begin(request: BaseHTTPRequestHandler, status: int, length: int, more: Mapping[str, str] = {}) -> None:
        request.send_response(status)
        for name, value in {"Content-Type": "application/octet-stream", "Content-Length": str(length), "X-Repo-Commit": SHA, "Accept-Ranges": "bytes",
                            **more}.items():
            request.send_header(name, value)
        request.end_headers()

    def _refuse(self, request: BaseHTTPRequestHandler, status: int) -> None:
        why = {404: ("RepoNotFound", "Repository not found"), 403: ("", "Access to this resource is disabled.")}.get(status, ("", "no"))
        self._begin(request, status, 0, {"X-Error-Message": why[1], **({"X-Error-Code": why[0]} if why[0] else {})})
