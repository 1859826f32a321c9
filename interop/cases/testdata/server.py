"""A server of the cases: a plan as JSON in its argument, whose fields aioquic_test.go has. It
prints its port, serves a folder, and ends with its standard input."""

import asyncio
import json
import os
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

plan = json.loads(sys.argv[1])


def content(path):
    """Returns a file of the folder, None if it has no such."""
    name = os.path.normpath(plan["www"] + path)
    if not name.startswith(plan["www"] + "/") or not os.path.isfile(name):
        return None
    with open(name, "rb") as f:
        return f.read()


class Session(QuicConnectionProtocol):
    """HTTP/0.9, or HTTP/3 where asked for."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.requests = None, {}
        if plan["alpn"] == "h3":
            self.http = H3Connection(self._quic)

    def quic_event_received(self, event):
        if self.http:
            for e in self.http.handle_event(event):
                if isinstance(e, HeadersReceived):
                    self.answer(e.stream_id, dict(e.headers)[b":path"].decode())
        elif isinstance(event, StreamDataReceived):
            self.requests[event.stream_id] = self.requests.get(event.stream_id, b"") + event.data
            if event.end_stream:
                line = self.requests.pop(event.stream_id).decode().strip()
                body = content(line.removeprefix("GET "))
                if body is None:
                    self._quic.reset_stream(event.stream_id, 404)
                else:
                    self._quic.send_stream_data(event.stream_id, body, True)
        self.transmit()

    def answer(self, stream, path):
        body = content(path)
        status = b"404" if body is None else b"200"
        self.http.send_headers(stream, [(b":status", status)])
        self.http.send_data(stream, body or b"", True)


async def main():
    configuration = QuicConfiguration(alpn_protocols=[plan["alpn"]], is_client=False, idle_timeout=30.0)
    configuration.load_cert_chain(plan["cert"], plan["key"])
    if plan["versions"]:
        configuration.supported_versions = plan["versions"]
    tickets = {}
    server = await serve(
        plan["host"],
        0,
        configuration=configuration,
        create_protocol=Session,
        retry=plan["retry"],
        session_ticket_fetcher=lambda label: tickets.pop(label, None),
        session_ticket_handler=lambda ticket: tickets.__setitem__(ticket.ticket, ticket),
    )
    print(server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
