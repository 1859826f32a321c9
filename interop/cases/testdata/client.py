"""A client of the cases: a plan as JSON on standard input, whose fields aioquic_test.go has.
Each session fetches its files at once, and saves them."""

import asyncio
import json
import os
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.client import connect
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived, StreamReset
from aioquic.tls import CipherSuite


class Session(QuicConnectionProtocol):
    """HTTP/0.9, or HTTP/3 where asked for. over has what waits for the end of a stream."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.files, self.over = None, {}, {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for stream in self.over:
                self.end(stream, f"ended with {event.error_code:#x}: {event.reason_phrase}")
        elif isinstance(event, StreamReset):
            self.end(event.stream_id, f"stream {event.stream_id} reset with {event.error_code:#x}")
        elif self.http:
            for e in self.http.handle_event(event):
                self.http_event(e)
        elif isinstance(event, StreamDataReceived):
            self.data(event.stream_id, event.data, event.end_stream)

    def http_event(self, e):
        if isinstance(e, HeadersReceived):
            status = dict(e.headers).get(b":status")
            if status != b"200":
                self.end(e.stream_id, f"status {status}")
            elif e.stream_ended:
                self.end(e.stream_id)
        elif isinstance(e, DataReceived):
            self.data(e.stream_id, e.data, e.stream_ended)

    def data(self, stream, data, ended):
        self.files[stream].write(data)
        if ended:
            self.end(stream)

    def end(self, stream, error=None):
        over = self.over[stream]
        if over.done():
            return
        self.files[stream].close()
        if error:
            over.set_exception(ConnectionError(error))
        else:
            over.set_result(None)

    def fetch(self, name, plan):
        stream = self._quic.get_next_available_stream_id()
        self.files[stream] = open(os.path.join(plan["downloads"], name), "wb")
        self.over[stream] = asyncio.get_running_loop().create_future()
        if self.http:
            where = plan["name"].encode()
            request = {b":method": b"GET", b":scheme": b"https", b":authority": where, b":path": b"/" + name.encode()}
            self.http.send_headers(stream, list(request.items()), True)
        else:
            self._quic.send_stream_data(stream, f"GET /{name}\r\n".encode(), True)
        return self.over[stream]


async def run(plan, files, configuration, early):
    """Plays one session, and returns the ticket that came of it, if one is wanted."""
    tickets = asyncio.Queue()
    async with connect(
        plan["host"],
        plan["port"],
        configuration=configuration,
        create_protocol=Session,
        session_ticket_handler=tickets.put_nowait,
        wait_connected=not early,
    ) as session:
        if plan["alpn"] == "h3":
            session.http = H3Connection(session._quic)
        over = [session.fetch(name, plan) for name in files]
        session.transmit()
        if plan["update"]:
            await session.ping()  # so that the server has told that the handshake is over
            session.request_key_update()
        await asyncio.gather(*over)
        return await tickets.get() if plan["resume"] and not early else None


async def main():
    plan = json.load(sys.stdin)
    ticket = None
    for files in plan["sessions"]:
        configuration = QuicConfiguration(alpn_protocols=[plan["alpn"]], is_client=True, idle_timeout=30.0)
        configuration.load_verify_locations(plan["roots"])
        configuration.server_name = plan["name"]
        configuration.session_ticket = ticket
        if plan["versions"]:
            configuration.supported_versions = plan["versions"]
            configuration.original_version = plan["first"]
        if plan["chacha20"]:
            configuration.cipher_suites = [CipherSuite.CHACHA20_POLY1305_SHA256]
        ticket = await run(plan, files, configuration, plan["early"] and ticket is not None)


asyncio.run(main())
