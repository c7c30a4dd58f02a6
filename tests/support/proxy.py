"""A small reverse proxy, as JupyterHub puts one before what its users serve."""

import socket
import socketserver
import threading
from contextlib import contextmanager, suppress

END = b"\r\n\r\n"


def pass_on(one, other):
    """Send all that comes from one socket to the other, until either is gone."""
    with suppress(OSError):
        while part := one.recv(2**16):
            other.sendall(part)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def rewritten(head, prefix, *, strips):
    """The head of a request for the server behind, or None for a path that is not below."""
    lines = head.decode().split("\r\n")
    method, path, version = lines[0].split(" ")
    if not path.startswith(prefix):
        return None
    if strips:
        path = "/" + path.removeprefix(prefix)
    upgrades = "upgrade: websocket" in head.decode().lower()
    kept = [one for one in lines[1:] if upgrades or not one.lower().startswith("connection:")]
    closing = [] if upgrades else ["Connection: close"]  # so that each request comes by here
    return "\r\n".join([f"{method} {path} {version}", *closing, *kept]).encode()


@contextmanager
def proxied(port, prefix, *, strips):
    """Pass on what lies below a prefix to a port; yields an address, and the paths not found."""
    refused = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            head = b""
            while END not in head:
                part = self.request.recv(2**16)
                if not part:
                    return
                head += part
            head, _, body = head.partition(END)
            sent = rewritten(head, prefix, strips=strips)
            if sent is None:
                refused.append(head.decode().split(" ")[1])
                self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", port)) as behind:
                behind.sendall(sent + END + body)
                back = threading.Thread(target=pass_on, args=[behind, self.request])
                back.start()
                pass_on(self.request, behind)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True

        def handle_error(self, request, client_address):
            """A page that goes in the middle is no error."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{server.server_address[1]}{prefix}", refused
        finally:
            server.shutdown()
            thread.join()
