"""An HTTP/3 client: a plan as JSON on standard input, all of it on one connection, and
what came of it as JSON on standard output. aioquic_test.go has the fields of both."""

import asyncio
import json
import pickle
import sys

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.client import connect
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived, PushPromiseReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

from common import PRIORITY_UPDATE, Digest, Http, decoded, encoded

CHUNK = 1 << 16
TEXT = 1 << 12  # bytes of a body that are reported


class Answer:
    """A response, or a push, while it arrives."""

    ended = 0  # how many have

    def __init__(self):
        self.digest, self.headers, self.informational, self.trailers = Digest(), None, [], []
        self.data = b""
        self.promise, self.order = None, 0
        self.over = asyncio.get_running_loop().create_future()

    def head(self, headers):
        if self.headers is not None:
            self.trailers = headers
        elif dict(headers)[":status"].startswith("1"):
            self.informational.append(headers)
        else:
            self.headers = headers

    def body(self, data):
        self.digest.add(data)
        self.data += data[: TEXT - len(self.data)]

    def end(self, error=None):
        if self.over.done():
            return
        Answer.ended += 1
        self.order = Answer.ended
        if error:
            self.over.set_exception(ConnectionError(error))
        else:
            self.over.set_result(None)

    def json(self):
        return {
            "header": self.headers or [],
            "informational": self.informational,
            "trailer": self.trailers,
            "digest": self.digest.json(),
            "text": self.data.decode(errors="replace"),
            "promise": self.promise or [],
            "order": self.order,
        }


class Session(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = Http(self._quic)
        self.answers, self.pushes = {}, {}
        self.facts = {"earlyAccepted": False, "resumed": False}

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.facts = {"earlyAccepted": event.early_data_accepted, "resumed": event.session_resumed}
        elif isinstance(event, StreamReset) and event.stream_id in self.answers:
            self.answers[event.stream_id].end(f"stream reset with {event.error_code:#x}")
        elif isinstance(event, ConnectionTerminated):
            for answer in [*self.answers.values(), *self.pushes.values()]:
                answer.end(f"connection ended with {event.error_code:#x}: {event.reason_phrase}")
        for e in self.http.handle_event(event):
            self.http_event(e)

    def http_event(self, e):
        if isinstance(e, PushPromiseReceived):
            self.pushed(e.push_id).promise = decoded(e.headers)
            return
        answer = self.answers.get(e.stream_id) if e.push_id is None else self.pushed(e.push_id)
        if isinstance(e, HeadersReceived):
            answer.head(decoded(e.headers))
        elif isinstance(e, DataReceived):
            answer.body(e.data or b"")
        if e.stream_ended:
            answer.end()

    def pushed(self, push_id):
        return self.pushes.setdefault(push_id, Answer())

    def ask(self, ask):
        """Sends a request whole, and returns what will have the answer."""
        stream = self._quic.get_next_available_stream_id()
        answer = self.answers[stream] = Answer()
        if ask.get("priority"):
            update = encode_uint_var(stream) + ask["priority"].encode()
            frame = encode_frame(PRIORITY_UPDATE[0], update)
            self._quic.send_stream_data(self.http._local_control_stream_id, frame)
        body, trailer = ask.get("body"), ask.get("trailer") or []
        self.http.send_headers(stream, encoded(ask["header"]), not body and not trailer)
        if body:
            with open(body, "rb") as f:
                piece = f.read(CHUNK)
                while piece:
                    more = f.read(CHUNK)
                    self.http.send_data(stream, piece, not more and not trailer)
                    piece = more
        if trailer:
            self.http.send_headers(stream, encoded(trailer), True)
        self.transmit()
        return answer


async def run(session, plan):
    answers = []
    for ask in plan["asks"]:
        answers.append(session.ask(ask))
        if not plan["together"]:
            await answers[-1].over
    await asyncio.gather(*(a.over for a in answers))
    await asyncio.gather(*(p.over for p in session.pushes.values()))
    return answers


async def main():
    plan = json.load(sys.stdin)
    configuration = QuicConfiguration(alpn_protocols=["h3"], is_client=True, max_data=16 << 20, max_stream_data=8 << 20)
    configuration.load_verify_locations(plan["roots"])
    configuration.server_name = plan["name"]
    early = plan["early"]
    if plan["resume"]:
        with open(plan["tickets"], "rb") as f:
            configuration.session_ticket = pickle.load(f)
    earned = asyncio.Event()

    def keep(ticket):
        with open(plan["tickets"], "wb") as f:
            pickle.dump(ticket, f)
        earned.set()

    async with connect(
        plan["host"],
        plan["port"],
        configuration=configuration,
        create_protocol=Session,
        session_ticket_handler=keep,
        wait_connected=not early,
    ) as session:
        answers = await run(session, plan)
        if early:
            await session.ping()  # so that the handshake is complete
        if plan["ticket"]:
            await earned.wait()
        result = {
            "answers": [a.json() for a in answers],
            "pushes": [p.json() for _, p in sorted(session.pushes.items())],
            "facts": {**session.facts, **session.http.facts()},
        }
    json.dump(result, sys.stdout)


asyncio.run(main())
