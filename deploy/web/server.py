"""A small HTTP server, to view the folder of a web page on this machine."""

from __future__ import annotations

import functools
import http
import http.server
import sys
from pathlib import Path
from typing import BinaryIO

from errors import InputError


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, never a listing of a folder.

    Two headers let WebAssembly use several threads. Another one stops browsers from caching, since
    the folder may be built again.
    """

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def send_head(self) -> BinaryIO | None:
        try:
            return super().send_head()
        except ValueError:  # a path that no file can have, such as one with a zero byte
            return self.list_directory(self.path)

    def list_directory(self, path: str) -> None:
        self.send_error(http.HTTPStatus.NOT_FOUND, "File not found")

    def log_message(self, *_: object) -> None:
        """Print nothing: a line for each file does not help the user."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore browsers that hang up, as they do when a page is reloaded."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(folder: Path, port: int, address: str = "127.0.0.1") -> http.server.ThreadingHTTPServer:
    """Make a server for ``folder``; its method ``serve_forever`` starts it.

    Args:
        port:    0 = any free port
        address: the local address to listen on; 0.0.0.0 lets other machines connect

    Raises:
        InputError: the port cannot be used.
    """
    try:
        return _Server((address, port), functools.partial(_Handler, directory=str(folder)))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--serve {port}: cannot listen there ({reason}); give another port"
        ) from None
