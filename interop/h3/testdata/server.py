"""An HTTP/3 server: python server.py CERT KEY DOCROOT. It prints its port as a line of
JSON, serves what site_test.go serves, and ends with its standard input."""

import asyncio
import json
import os
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.h3.exceptions import NoAvailablePushIDError
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, ProtocolNegotiated

from common import Digest, Http, decoded, encoded

CHUNK = 1 << 16
docroot = ""
gatherings = {}  # path to the answers that wait for the others


class Request:
    """A request while it arrives."""

    def __init__(self, session, stream, headers, complete):
        self.session, self.stream, self.headers = session, stream, headers
        self.fields = dict(headers)
        self.early = not session.complete
        self.digest, self.trailers, self.begun = Digest(), [], False
        if self.fields[":method"] == "CONNECT" or self.path() == "/echo":
            self.begin(200)
        if complete:
            self.end()

    def path(self):
        return self.fields.get(":path", "").split("?")[0]

    def begin(self, status, headers=(), end=False):
        self.begun = True
        self.session.http.send_headers(self.stream, [(b":status", str(status).encode())] + encoded(headers), end)

    def data(self, data):
        self.digest.add(data)
        if self.begun and data:
            self.session.http.send_data(self.stream, data, False)

    def answer(self, body, status=200, headers=()):
        head = self.fields[":method"] == "HEAD"
        self.begin(status, [["content-length", str(len(body))], *headers], head or not body)
        if body and not head:
            self.session.http.send_data(self.stream, body, True)

    def end(self):
        path, http = self.path(), self.session.http
        if self.begun and path == "/echo":
            trailers = [["x-sum", self.digest.json()["sha256"]]]
            trailers += [["x-back", v] for k, v in self.trailers if k == "x-trailer"]
            http.send_headers(self.stream, encoded(trailers), True)
        elif self.begun:
            http.send_data(self.stream, b"", True)
        elif path == "/sum":
            self.answer(json.dumps(self.digest.json()).encode())
        elif path == "/headers":
            self.answer(json.dumps(self.headers).encode(), headers=[["x-long", "abcdefgh" * 8]])
        elif path == "/early":
            self.answer(b"early" if self.early else b"late")
        elif path == "/facts":
            self.answer(json.dumps({**self.session.facts, **http.facts()}).encode())
        elif path == "/hints":
            http.send_headers(self.stream, [(b":status", b"103"), (b"link", b"</style.css>; rel=preload")])
            self.answer(b"hinted")
        elif path == "/push":
            self.push()
        elif path.startswith("/together/"):
            self.gather()
        else:
            self.file(path)

    def push(self):
        authority = self.fields[":authority"]
        for name in ("/small.txt", "/n/001"):
            promise = [[":method", "GET"], [":scheme", "https"], [":authority", authority], [":path", name]]
            try:
                stream = self.session.http.send_push_promise(self.stream, encoded(promise))
            except NoAvailablePushIDError:
                self.answer(b"the client takes no pushes\n", 501)
                return
            with open(docroot + name, "rb") as f:
                body = f.read()
            self.session.http.send_headers(stream, encoded([[":status", "200"], ["content-length", str(len(body))]]))
            self.session.http.send_data(stream, body, True)
        self.answer(b"pushed two")

    def gather(self):
        """Answers when as many as the path says are here."""
        _, _, count, name = self.path().split("/", 3)
        waiting = gatherings.setdefault(count, [])
        waiting.append((self, name))
        if len(waiting) == int(count):
            del gatherings[count]
            for request, n in waiting:
                request.file("/n/" + n)
            for session in {request.session for request, _ in waiting}:
                session.transmit()

    def file(self, path):
        name = os.path.normpath(docroot + path)
        if not name.startswith(docroot) or not os.path.isfile(name):
            self.answer(b"there is no such thing\n", 404)
            return
        size = os.path.getsize(name)
        end = self.fields[":method"] == "HEAD" or size == 0
        self.begin(200, [["content-length", str(size)]], end)
        if end:
            return
        with open(name, "rb") as f:
            while size > 0:
                piece = f.read(CHUNK)
                size -= len(piece)
                self.session.http.send_data(self.stream, piece, size == 0)


class Session(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.complete, self.requests = None, False, {}
        self.facts = {"earlyAccepted": False, "resumed": False}

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = Http(self._quic)
        elif isinstance(event, HandshakeCompleted):
            self.complete = True
            self.facts = {"earlyAccepted": event.early_data_accepted, "resumed": event.session_resumed}
        elif isinstance(event, ConnectionTerminated) and event.error_code not in (0, 0x100):
            print(f"ended with {event.error_code:#x}: {event.reason_phrase}", file=sys.stderr, flush=True)
        if self.http is None:
            return
        for e in self.http.handle_event(event):
            self.http_event(e)
        self.transmit()

    def http_event(self, e):
        if isinstance(e, HeadersReceived):
            known = self.requests.get(e.stream_id)
            if known is None:
                self.requests[e.stream_id] = Request(self, e.stream_id, decoded(e.headers), e.stream_ended)
                return
            known.trailers = decoded(e.headers)
            if e.stream_ended:
                known.end()
        elif isinstance(e, DataReceived):
            request = self.requests[e.stream_id]
            request.data(e.data or b"")
            if e.stream_ended:
                request.end()


async def main():
    global docroot
    cert, key, root = sys.argv[1:]
    docroot = os.path.normpath(root)
    configuration = QuicConfiguration(alpn_protocols=["h3"], is_client=False, max_data=16 << 20, max_stream_data=8 << 20)
    configuration.load_cert_chain(cert, key)
    tickets = {}
    server = await serve(
        "127.0.0.1",
        0,
        configuration=configuration,
        create_protocol=Session,
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
    )
    print(json.dumps({"port": server._transport.get_extra_info("sockname")[1]}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
