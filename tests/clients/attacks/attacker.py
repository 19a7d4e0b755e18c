"""An HTTP/2 client that means harm, clients beside it that mean none, and what all of it costs the gateway.

Frames are written one by one with the packages under `h2`, which itself would refuse to send most of them.
"""

import contextlib
import http.client
import json
import os
import select
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request

import h2.config
import h2.connection
import h2.events
import hpack
from hyperframe import frame

STAGE = json.loads(os.environ["STAGE"])
ATTACKED = STAGE["attacked"]
KEY = STAGE["keys"]["ample"]
HOST = "localhost"

# What another client's request may take, on a machine that is busy.
PATIENCE = 10
# The longest wait for an end that must come.
DEADLINE = 20


def connect():
    """A TLS connection that has agreed on HTTP/2."""
    context = ssl.create_default_context(cafile=ATTACKED["certificate"])
    context.set_alpn_protocols(["h2"])
    url = urllib.parse.urlsplit(ATTACKED["tls"])
    plain = socket.create_connection((url.hostname, url.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(plain, server_hostname=HOST)
    assert tls.selected_alpn_protocol() == "h2"
    return tls


def fields(path="/v1/models", method="GET", key=KEY, more=()):
    return [
        (":method", method),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", path),
        ("authorization", f"Bearer {key}"),
        *more,
    ]


class Attacker:
    """A connection. Whatever comes of it is read away, or not, and its GOAWAY and its end are noted."""

    def __init__(self, settings=None, reads=True):
        self.socket = connect()
        self.socket.setblocking(False)
        self.reads = reads
        self.encoder = hpack.Encoder()
        self.stream = -1
        self.has_ended = False
        self.goaway = None
        self.resets, self.heads, self.wholes, self.sent = 0, 0, 0, 0
        self.unread = b""
        wide = frame.WindowUpdateFrame(0, window_increment=2**30).serialize()
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.send(preface + frame.SettingsFrame(0, settings=settings or {}).serialize() + wide)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, wait=PATIENCE):
        """Sends bytes as they are; False if the gateway has ended the connection, or takes none for so long."""
        data = memoryview(data)
        stalled = time.monotonic() + wait
        while data and not self.has_ended:
            try:
                sent = self.socket.send(data)
                self.sent += sent
                data = data[sent:]
                stalled = time.monotonic() + wait
            except ssl.SSLWantWriteError:
                select.select([self.socket] if self.reads else [], [self.socket], [], 0.1)
            except OSError:
                self.has_ended = True
            if time.monotonic() > stalled:
                return False
            if self.reads:
                self.read()
        return not self.has_ended

    def read(self):
        """Reads what is there."""
        with contextlib.suppress(ssl.SSLWantReadError):
            while not self.has_ended:
                try:
                    came = self.socket.recv(65536)
                except ssl.SSLWantReadError:
                    raise
                except OSError:
                    came = b""
                self.has_ended = came == b""
                self.unread += came
        while len(self.unread) >= 9:
            length = int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < 9 + length:
                break
            self.note(self.unread[3], self.unread[4], self.unread[9 : 9 + length])
            self.unread = self.unread[9 + length :]

    def note(self, kind, flags, payload):
        if kind in (0, 1) and flags & 1:
            self.wholes += 1
        if kind == 1:
            self.heads += 1
        elif kind == 3:
            self.resets += 1
        elif kind == 7:
            self.goaway = int.from_bytes(payload[4:8], "big")

    def until(self, is_so, seconds=DEADLINE):
        """Reads until something is so; False if the time is over before."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                return False
            select.select([self.socket], [], [], 0.05)
            self.read()
        return True

    def ends(self, seconds=DEADLINE):
        """True if the gateway ends the connection in this time."""
        return self.until(lambda: self.has_ended, seconds)

    def flood(self, pieces, seconds=5):
        """Sends piece after piece until the gateway has enough, they are over, or the time is; how many were sent."""
        deadline = time.monotonic() + seconds
        count = 0
        for piece in pieces:
            if time.monotonic() > deadline or not self.send(piece, wait=1):
                break
            count += 1
        return count

    def next_stream(self):
        self.stream += 2
        return self.stream

    def request(self, *flags, **what):
        """The frame that begins a request on the next stream."""
        return self.block(self.encoder.encode(fields(**what)), *flags)

    def block(self, block, *flags):
        return frame.HeadersFrame(self.next_stream(), data=block, flags=["END_HEADERS", *flags]).serialize()

    def whole(self, **what):
        """The frame that is a request."""
        return self.request("END_STREAM", **what)


def raw(kind, stream, payload, flags=0):
    """A frame that the packages would not make."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Neighbour(threading.Thread):
    """A client that asks on and on."""

    def __init__(self):
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.served, self.slowest, self.failed = 0, 0.0, None

    def run(self):
        try:
            while not self.over.is_set():
                begun = time.monotonic()
                status = self.ask()
                self.slowest = max(self.slowest, time.monotonic() - begun)
                assert status == 200, status
                self.served += 1
                self.over.wait(0.005)
        except Exception as error:  # Whatever it was, the test tells it.
            self.failed = error


class Neighbour1(Neighbour):
    """Over HTTP/1.1."""

    def __init__(self):
        super().__init__()
        url = urllib.parse.urlsplit(ATTACKED["plain"])
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=DEADLINE)

    def close(self):
        self.connection.close()

    def ask(self):
        self.connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


class Neighbour2(Neighbour):
    """Over HTTP/2."""

    def __init__(self):
        super().__init__()
        self.open()

    def open(self):
        self.socket = connect()
        self.socket.settimeout(DEADLINE)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.left = 1000

    def close(self):
        self.socket.close()

    def ask(self):
        self.left -= 1
        if self.left == 0:
            self.close()
            self.open()
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields(), end_stream=True)
        status = None
        while True:
            self.socket.sendall(self.h2.data_to_send())
            came = self.socket.recv(65536)
            assert came, "the connection ended"
            for event in self.h2.receive_data(came):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    self.socket.sendall(self.h2.data_to_send())
                    return status


def metric(name):
    """The value of a metric of the attacked gateway."""
    with urllib.request.urlopen(f"{ATTACKED['admin']}/metrics", timeout=DEADLINE) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.rsplit(" ", 1)[1] for line in lines if line.startswith(f"{name} ")))


def memory():
    """What the gateway holds in memory, in MiB."""
    with open(f"/proc/{ATTACKED['process']}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def eventually(is_so):
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
