"""What the aioquic client and server of this suite have in common."""

import hashlib

from aioquic.buffer import Buffer
from aioquic.h3.connection import H3Connection

PRIORITY_UPDATE = (0xF0700, 0xF0701)  # RFC 9218 section 7.2: of requests, of pushes


class Http(H3Connection):
    """An HTTP/3 connection that counts what its peer does beside requests."""

    def __init__(self, quic):
        self.priority_updates = []
        super().__init__(quic)

    def _handle_control_frame(self, frame_type, frame_data):
        if frame_type in PRIORITY_UPDATE:
            buf = Buffer(data=frame_data)
            element = buf.pull_uint_var()
            value = buf.pull_bytes(buf.capacity - buf.tell()).decode()
            self.priority_updates.append([frame_type, element, value])
        super()._handle_control_frame(frame_type, frame_data)

    def facts(self):
        """What the suite asks of an end. Both encoder streams begin with one byte of type,
        and a Set Dynamic Table Capacity takes a few more: it is their growth that tells."""
        return {
            "encoderSent": self._encoder_bytes_sent,
            "encoderReceived": self._encoder_bytes_received,
            "priorityUpdates": self.priority_updates,
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
