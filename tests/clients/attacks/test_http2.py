"""HTTP/2 clients that mean harm: each is ended or held to a bound, others are served meanwhile, and nothing stays."""

import itertools
import time
import unittest

from hyperframe import frame

import attacker
from attacker import Attacker, Neighbour1, Neighbour2, eventually, memory, metric, raw

# What an attack may add to the gateway's memory, in MiB.
MOST_MEMORY = 48
# How many frames an attacker has ready.
MANY = 200_000

ENHANCE_YOUR_CALM = 11
FLOW_CONTROL_ERROR = 3

PING = frame.PingFrame(0, opaque_data=b"attacker").serialize()
PING_ACK = frame.PingFrame(0, opaque_data=b"attacker", flags=["ACK"]).serialize()


def again(piece, count=MANY):
    return itertools.repeat(piece, count)


class Attack(unittest.TestCase):
    """Neighbours are served during each test, and are alone with the gateway again after it."""

    def setUp(self):
        self.neighbours = [Neighbour1(), Neighbour2()]
        for neighbour in self.neighbours:
            neighbour.start()
        self.assertTrue(eventually(lambda: all(one.served > 5 for one in self.neighbours)))
        self.memory, self.work = memory(), metric("process_cpu_seconds_total")
        self.flooded = metric("safecache_http2_floods_total")
        self.begun = time.monotonic()

    def tearDown(self):
        took = time.monotonic() - self.begun
        risen, work = memory() - self.memory, metric("process_cpu_seconds_total") - self.work
        served = [neighbour.served for neighbour in self.neighbours]
        self.assertTrue(
            eventually(lambda: all(now.served > then + 5 or now.failed for now, then in zip(self.neighbours, served)))
        )
        for neighbour in self.neighbours:
            neighbour.over.set()
            neighbour.join(attacker.DEADLINE)
            neighbour.close()
        slowest = max(neighbour.slowest for neighbour in self.neighbours)
        print(
            f"measured {self._testMethodName}: {took:.1f} s, {work:.2f} s of work, {risen:.1f} MiB, "
            f"the slowest of {sum(served)} others {slowest * 1000:.0f} ms",
            flush=True,
        )
        self.assertEqual([neighbour.failed for neighbour in self.neighbours], [None, None])
        self.assertLess(slowest, attacker.PATIENCE)
        self.assertLess(risen, MOST_MEMORY)
        self.neighbours.clear()
        for gauge in ["safecache_connections", "safecache_in_flight_requests", "safecache_buffer_bytes"]:
            self.assertTrue(eventually(lambda gauge=gauge: metric(gauge) == 0), gauge)

    def is_flood(self):
        """The gateway has ended a connection for its frames."""
        self.assertTrue(eventually(lambda: metric("safecache_http2_floods_total") == self.flooded + 1))


class Floods(Attack):
    """Frames that ask for nothing."""

    def floods(self, piece, settings=None, before=()):
        with Attacker(settings) as client:
            for each in before:
                client.send(each(client))
            count = client.flood(again(piece))
            self.assertLess(count, MANY // 10)
            self.assertTrue(client.ends())
        # The HTTP/2 library counts some of them itself, and says so.
        if client.goaway != ENHANCE_YOUR_CALM:
            self.is_flood()

    def test_ping(self):
        self.floods(PING)

    def test_ping_that_was_never_asked_for(self):
        self.floods(PING_ACK)

    def test_settings(self):
        self.floods(frame.SettingsFrame(0).serialize())

    def test_settings_that_move_the_windows_of_many_streams(self):
        post = [lambda client: client.request(path="/v1/x", method="POST")] * 90
        narrow = frame.SettingsFrame(0, settings={4: 1}).serialize()
        wide = frame.SettingsFrame(0, settings={4: 2**31 - 1}).serialize()
        self.floods(narrow + wide, before=post)

    def test_priority(self):
        self.floods(raw(2, 1, bytes(5)))

    def test_unknown_frames(self):
        self.floods(raw(0x55, 0, bytes(100)))

    def test_windows_of_the_connection(self):
        self.floods(frame.WindowUpdateFrame(0, window_increment=1).serialize())

    def test_data_without_bytes(self):
        self.floods(raw(0, 1, b""), before=[lambda client: client.request(path="/v1/x", method="POST")])

    def test_pings_whose_answers_are_not_read(self):
        with Attacker(reads=False) as client:
            client.flood(again(PING * 100), seconds=3)
            client.reads = True
            self.assertTrue(client.ends())
        self.is_flood()

    def test_many_at_once(self):
        clients = [Attacker() for _ in range(20)]
        for _ in range(200):
            for client in clients:
                client.send(PING * 10, wait=1)
        for client in clients:
            self.assertTrue(client.ends())
            client.socket.close()


class Resets(Attack):
    """Requests that are taken back, by either side."""

    def test_rapid_reset(self):
        def begun_and_taken_back(client):
            while True:
                yield client.whole() + frame.RstStreamFrame(client.stream, error_code=8).serialize()

        with Attacker() as client:
            self.assertLess(client.flood(begun_and_taken_back(client)), 5000)
            self.assertTrue(client.ends())

    def test_rapid_reset_in_bursts(self):
        """As many in one write as fit: some are taken back before they were looked at."""
        with Attacker() as client:
            burst = (
                b"".join(
                    client.whole() + frame.RstStreamFrame(client.stream, error_code=8).serialize() for _ in range(100)
                )
                for _ in itertools.count()
            )
            self.assertLess(client.flood(burst), 50)
            self.assertTrue(client.ends())

    def made_to_reset(self, mistake):
        """Each request is followed by a mistake for which the gateway takes it back (CVE-2025-8671)."""

        def mistaken(client):
            while True:
                yield client.request(path="/v1/x", method="POST") + mistake(client.stream)

        with Attacker() as client:
            self.assertLess(client.flood(mistaken(client), seconds=10), 5000)
            self.assertTrue(client.ends())

    def test_a_window_opened_by_nothing(self):
        self.made_to_reset(lambda stream: raw(8, stream, bytes(4)))

    def test_a_window_opened_too_far(self):
        self.made_to_reset(lambda stream: raw(8, stream, (2**31 - 1).to_bytes(4, "big")) * 2)

    def test_data_behind_the_end(self):
        end_stream = 1
        self.made_to_reset(lambda stream: raw(0, stream, b"x", end_stream) + raw(0, stream, b"y"))

    def test_a_head_behind_the_end(self):
        end_stream = 1
        self.made_to_reset(lambda stream: raw(0, stream, b"x", end_stream) + raw(1, stream, b"\x82", 5))

    def test_heads_that_are_none(self):
        """An empty path, field names in upper case, a field of a connection: each is refused by itself."""
        before = metric("safecache_heads_refused_total")
        with Attacker() as client:
            heads = itertools.cycle(
                [
                    dict(path=""),
                    dict(more=[("X-Upper", "1")]),
                    dict(more=[("connection", "close")]),
                    dict(more=[("te", "gzip")]),
                ]
            )
            self.assertLess(client.flood(client.whole(**head) for head in heads), 5000)
            self.assertTrue(client.ends())
        self.assertTrue(eventually(lambda: metric("safecache_heads_refused_total") > before), "they are counted")


class Heads(Attack):
    """Heads that never end, or are larger than they look."""

    def test_continuation(self):
        with Attacker() as client:
            client.send(frame.HeadersFrame(client.next_stream(), data=b"", flags=[]).serialize())
            more = frame.ContinuationFrame(1, data=client.encoder.encode([("x", "y" * 8000)])).serialize()
            self.assertLess(client.flood(again(more)), 1000)
            self.assertTrue(client.ends())

    def test_continuation_of_nothing(self):
        with Attacker() as client:
            client.send(frame.HeadersFrame(client.next_stream(), data=b"", flags=[]).serialize())
            self.assertLess(client.flood(again(frame.ContinuationFrame(1).serialize())), MANY // 10)
            self.assertTrue(client.ends())

    def test_continuation_bit_by_bit(self):
        """One byte of a head at a time; it is over when its connection has been idle for too long."""
        with Attacker() as client:
            client.send(frame.HeadersFrame(client.next_stream(), data=b"\x82", flags=[]).serialize())
            for _ in range(200):
                if not client.send(frame.ContinuationFrame(1, data=b"\x82").serialize()) or client.ends(0.05):
                    break
            self.assertTrue(client.ends())

    def test_hpack_bomb(self):
        """A field of 4,000 bytes that is then named by one byte, over and over."""
        with Attacker() as client:
            client.send(client.whole(more=[("x-bomb", "b" * 3900)]))
            self.assertTrue(client.until(lambda: client.heads == 1))
            head = client.encoder.encode(attacker.fields())
            count = client.flood(client.block(head + b"\xbe" * 16_000, "END_STREAM") for _ in range(1000))
            self.assertTrue(client.has_ended or client.ends(), f"after {count}, {client.goaway}")

    def test_a_table_of_fields_that_is_resized_over_and_over(self):
        with Attacker() as client:
            resize = b"\x20" + b"\x3f\xe1\x1f"
            client.flood(client.block(resize * 4000 + client.encoder.encode(attacker.fields())) for _ in range(1000))
            self.assertTrue(client.has_ended or client.ends())


class Streams(Attack):
    """Requests that are begun and never come to their end, and windows that are never opened."""

    def test_streams_that_are_never_finished(self):
        with Attacker() as client:
            for number in range(300):
                path = ["/v1/x", "/v1/embeddings"][number % 2]
                client.send(client.request(path=path, method="POST"))
            self.assertTrue(client.until(lambda: client.resets >= 200), "those beyond a hundred are refused")
            self.assertFalse(client.has_ended)
            self.assertLessEqual(metric("safecache_in_flight_requests"), 102)

    def test_bodies_byte_by_byte(self):
        with Attacker() as client:
            for _ in range(100):
                client.send(client.request(path="/v1/embeddings", method="POST"))
            pieces = (raw(0, stream, b"x") for _ in itertools.count() for stream in range(1, 201, 2))
            client.flood(pieces, seconds=5)

    def test_windows_that_stay_shut(self):
        """A client is waited for until the largest piece could have gone at `min_send_rate`, at least half a minute."""
        with Attacker({4: 0}) as client:
            for _ in range(100):
                client.send(client.whole())
            self.assertTrue(client.until(lambda: client.heads == 100))
            self.assertTrue(client.until(lambda: client.resets == 100, 60))
            self.assertTrue(client.ends())

    def test_windows_that_open_byte_by_byte(self):
        with Attacker({4: 0}) as client:
            for _ in range(100):
                client.send(client.whole())
            self.assertTrue(client.until(lambda: client.heads == 100))
            bits = (raw(8, stream, (1).to_bytes(4, "big")) for _ in itertools.count() for stream in range(1, 201, 2))
            client.flood(bits, seconds=5)

    def test_a_window_that_is_opened_too_far(self):
        with Attacker() as client:
            client.send(raw(8, 0, (2**31 - 1).to_bytes(4, "big")) * 2)
            self.assertTrue(client.ends())
            self.assertEqual(client.goaway, FLOW_CONTROL_ERROR)


class Ends(Attack):
    """Connections that would stay for ever."""

    def test_pings_keep_no_idle_connection(self):
        with Attacker() as client:
            client.send(client.whole())
            self.assertTrue(client.until(lambda: client.heads == 1))
            begun = time.monotonic()
            while not client.ends(0.1) and time.monotonic() < begun + attacker.DEADLINE:
                client.send(PING)
            self.assertTrue(client.has_ended)

    def test_who_goes_on_asking_after_goaway_is_cut(self):
        with Attacker() as client:
            asked = 0
            while asked < 4000 and client.send(client.whole()):
                asked += 1
                client.until(lambda asked=asked: client.has_ended or client.wholes + client.resets > asked - 50)
            self.assertEqual(client.goaway, 0)
            self.assertTrue(client.ends())
            self.assertTrue(2000 <= client.heads <= 2100, client.heads)

    def test_who_does_not_go_after_goaway_is_cut(self):
        with Attacker() as client:
            asked = 0
            while asked < 2200 and client.goaway is None:
                client.send(client.whole())
                asked += 1
                client.until(lambda asked=asked: client.goaway is not None or client.wholes + client.resets > asked - 50)
            self.assertEqual(client.goaway, 0)
            # It answers no PING, and says no more; what it asked for before is answered.
            self.assertTrue(client.ends())
            self.assertEqual(client.heads + client.resets, asked)


if __name__ == "__main__":
    unittest.main()
