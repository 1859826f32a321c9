"""What the aioquic client and server of this suite have in common."""

import hashlib

from aioquic.buffer import Buffer
from aioquic.h3.connection import H3Connection, StreamType
from aioquic.quic.events import StreamDataReceived

PRIORITY_UPDATE = (0xF0700, 0xF0701)  # RFC 9218 section 7.2: of requests, of pushes


class Http(H3Connection):
    """An HTTP/3 connection that remembers its peer's control stream, to tell what the
    library has no use for."""

    def __init__(self, quic):
        self._uni = {}  # what came on unidirectional streams, until their type is known
        super().__init__(quic)

    def handle_event(self, event):
        if isinstance(event, StreamDataReceived) and event.stream_id % 4 in (2, 3):
            so_far = self._uni.setdefault(event.stream_id, bytearray())
            if not so_far or so_far[0] == StreamType.CONTROL:
                so_far += event.data
        return super().handle_event(event)

    def _priority_updates(self):
        control = next((s for s in self._uni.values() if s and s[0] == StreamType.CONTROL), b"\0")
        buf, updates = Buffer(data=bytes(control[1:])), []
        while not buf.eof():
            kind, payload = buf.pull_uint_var(), Buffer(data=buf.pull_bytes(buf.pull_uint_var()))
            if kind in PRIORITY_UPDATE:
                element = payload.pull_uint_var()
                updates.append([kind, element, payload.pull_bytes(payload.capacity - payload.tell()).decode()])
        return updates

    def facts(self):
        """What the suite asks of an end. Both encoder streams begin with one byte of type,
        and a Set Dynamic Table Capacity takes a few more: it is their growth that tells."""
        return {
            "encoderSent": self._encoder_bytes_sent,
            "encoderReceived": self._encoder_bytes_received,
            "priorityUpdates": self._priority_updates(),
        }


class Digest:
    """The size and SHA-256 of what comes in pieces."""

    def __init__(self):
        self.size, self.hash = 0, hashlib.sha256()

    def add(self, data):
        self.size += len(data)
        self.hash.update(data)

    def json(self):
        return {"size": self.size, "sha256": self.hash.hexdigest()}


def decoded(headers):
    return [[k.decode(), v.decode()] for k, v in headers]


def encoded(headers):
    return [(k.lower().encode(), v.encode()) for k, v in headers]
