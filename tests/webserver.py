"""A web server on loopback that sends whatever bytes a test chooses, valid HTTP or not."""

import re
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[int], Iterable[bytes]]  # maps the first requested byte to the pieces of the response


@dataclass
class WebServer:
    """URL of a running server, and the first byte that each request asked for."""

    url: str
    starts: list[int] = field(default_factory=list)


def head(status: str = "200 OK", **headers: str | int) -> bytes:
    """Return a status line and headers; underscores in the names of headers become hyphens."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def part_of(content: bytes, start: int, too_many: int = 0) -> bytes:
    """Return the head of a response with the content from byte `start` on, announcing `too_many` bytes too many."""
    if start >= len(content):
        return head("416 Range Not Satisfiable")
    length = len(content) - start + too_many
    if not start:
        return head(Content_Length=length)
    span = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return head("206 Partial Content", Content_Length=length, Content_Range=span)


@contextmanager
def serving(answer: Answer, certificate: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Run a server that sends the same answer to every request and then closes the connection."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # ssl's errors, too
                if certificate is not None:
                    self.connection = certificate.wrap_socket(self.connection, server_side=True)
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    received = self.connection.recv(1 << 16)
                    if not received:
                        return
                    request += received
                wanted = re.search(rb"Range: bytes=(\d+)-", request)
                start = int(wanted[1]) if wanted else 0
                server.starts.append(start)
                for piece in answer(start):
                    self.connection.sendall(piece)

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()
            self.connection.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        address = f"127.0.0.1:{listener.server_address[1]}"
        server = WebServer(f"{'http' if certificate is None else 'https'}://{address}/file.bin")
        thread = threading.Thread(target=listener.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()
