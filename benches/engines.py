#!/usr/bin/env python3
"""What the engines that gateways share are asked, and what each question costs them.

    benches/engines.py BINARY [--requests 3000] [--seconds 10]

A gateway runs on a real Redis and a real PostgreSQL, each with a folder of its own. Each row is one kind of request, asked
one after another over one connection: how many calls of either engine it makes, and how much processor time the engine, the
gateway and, for comparison, the same gateway without engines spend on it. Then what a gateway asks in a second in which
nobody asks it, what a flush of usage costs by its rows, and a change of a key. Prints tables in Markdown."""

import argparse
import asyncio
import contextlib
import glob
import hashlib
import http.client
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time

TOKEN = "bench-token-of-the-operator"
ANSWER = json.dumps({
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 150}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 150, "total_tokens": 159},
}).encode()  # fmt: skip
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def seconds_of(pid):
    """Processor time of a process, in seconds, by its threads."""
    threads = glob.glob(f"/proc/{pid}/task/*/schedstat")
    return sum(int(pathlib.Path(thread).read_text().split()[0]) for thread in threads) / 1e9


class Redis:
    """A server, and what it says of itself."""

    def __init__(self, folder):
        self.port = free_port()
        command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", folder]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}"
        while b"PONG" not in self.ask("PING"):
            time.sleep(0.05)

    def ask(self, *words):
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, capture_output=True, check=False).stdout

    def calls(self):
        """Scripts that ran, and microseconds that they took."""
        told = self.ask("INFO", "commandstats").decode()
        line = next((line for line in told.splitlines() if line.startswith("cmdstat_evalsha:")), "")
        told = dict(part.split("=") for part in line.partition(":")[2].split(",") if part)
        return int(told.get("calls", 0)), int(told.get("usec", 0))

    def seconds(self):
        return seconds_of(self.process.pid)

    def end(self):
        self.process.terminate()
        self.process.wait()


class Postgres:
    """A server for nobody else, run by nobody."""

    def __init__(self, folder):
        programs = pathlib.Path(max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4])))
        self.port, data = free_port(), f"{folder}/data"
        if NOBODY:
            os.chown(folder, 65534, 65534)
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "safecache", "--auth=trust", "--no-sync", "-E", "UTF8"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **NOBODY,
        )  # fmt: skip
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        with open(f"{folder}/log", "w") as log:
            self.process = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(self.port), *settings], stderr=log, cwd=folder, **NOBODY
            )
        self.psql = [programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "safecache", "-Atc"]
        self.url = f"postgres://safecache@127.0.0.1:{self.port}/postgres"
        while self.value("SELECT 1", "postgres") != "1":
            time.sleep(0.05)

    def value(self, statement, database="postgres"):
        return subprocess.run([*self.psql, statement, database], capture_output=True, check=False, text=True).stdout.strip()

    def seconds(self):
        """Of the server and all its processes; the gateway keeps those that serve it."""
        spent = seconds_of(self.process.pid)
        for name in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(pathlib.Path(name).read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    spent += seconds_of(name.split("/")[2])
        return spent

    def end(self):
        self.process.terminate()
        self.process.wait()


def upstream():
    """Serves one answer to everybody, whole or as a stream; its address."""
    event = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}\n\n'
    word = event % b'{"index":0,"delta":{"content":"word word word "},"finish_reason":null}'
    end = event % b'{"index":0,"delta":{},"finish_reason":"stop"}' + b"data: [DONE]\n\n"
    stream = word * 20 + end
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    whole = head % (b"application/json", len(ANSWER)) + ANSWER
    events = head % (b"text/event-stream", len(stream)) + stream

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                writer.write(events if b'"stream":true' in body else whole)

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def secret(number):
    return "k" + hashlib.sha256(str(number).encode()).hexdigest()[:40]


class Gateway:
    """A running gateway with a list of keys, on these engines."""

    def __init__(self, binary, folder, cluster, behind, keys=4000):
        listed = "".join(
            f"  - {{id: k{n}, sha256: {hashlib.sha256(secret(n).encode()).hexdigest()}, account: acme, plan: most}}\n"
            for n in range(keys)
        )
        (pathlib.Path(folder) / "gateway.yaml").write_text(
            f"listen: 127.0.0.1:0\nadmin: {{listen: \"127.0.0.1:0\", token: {TOKEN}}}\nthreads: 1\n"
            "plans: {most: {requests_per_minute: 60000000, burst: 1000000, max_keys: 100000}}\n"
            "limits: {auth_failures: off, max_requests_per_connection: 100000000}\n"
            f"upstreams: {{llm: {{servers: [\"{behind}\"]}}}}\n"
            f"routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\n{cluster}\nkeys:\n{listed}"
        )
        self.process = subprocess.Popen(
            [binary, "serve"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        urls = {}
        while len(urls) < 2:
            name, _, url = self.process.stderr.readline().strip().partition(": http://")
            if name in ("gateway", "admin"):
                urls[name] = url
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.data, self.admin = (http.client.HTTPConnection(urls[name]) for name in ("gateway", "admin"))
        time.sleep(2)

    def ask(self, key, path, body=None, **headers):
        headers |= {"Authorization": f"Bearer {secret(key)}", "Content-Type": "application/json"}
        self.data.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
        answer = self.data.getresponse()
        return answer.status, answer.read()

    def operate(self, path, body=None):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self.admin.request("POST", path, json.dumps(body or {}), headers)
        answer = self.admin.getresponse()
        said = json.loads(answer.read())
        assert answer.status in (200, 201), said
        return said

    def seconds(self):
        return seconds_of(self.process.pid)

    def end(self):
        self.process.terminate()
        self.process.wait()


def chat(text, **more):
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def expect(status, asked):
    assert asked[0] == status, asked


KINDS = {
    "a key's first request (a lease)": lambda g, n: expect(404, g.ask(n, "/x")),
    "a key's next requests (from its lease)": lambda g, n: expect(404, g.ask(0, "/x")),
    "a hit in memory": lambda g, n: expect(200, g.ask(0, "/v1/chat/completions", chat("same"))),
    "not in the cache, `only-if-cached`": lambda g, n: expect(
        504, g.ask(0, "/v1/chat/completions", chat(f"none {n}"), **{"Cache-Control": "only-if-cached"})
    ),
    "a stream that is called and kept": lambda g, n: expect(
        200, g.ask(0, "/v1/chat/completions", chat(f"stream {n}", stream=True))
    ),
    "a JSON answer that is called and kept": lambda g, n: expect(200, g.ask(0, "/v1/chat/completions", chat(f"json {n}"))),
    "`/api/v1/store`": lambda g, n: expect(
        200, g.ask(0, "/api/v1/store", {"messages": chat(f"{n}")["messages"], "answer": "forty two"})
    ),
    "`/api/v1/check`, a hit": lambda g, n: expect(200, g.ask(0, "/api/v1/check", {"messages": chat(f"{n}")["messages"]})),
}


def measure(gateway, engines, act, requests):
    """Of `act`, by request: scripts of Redis, microseconds that they ran, and microseconds of Redis, of PostgreSQL and of the
    gateway."""
    redis, postgres = engines
    stand = lambda: (*redis.calls(), *(1e6 * each.seconds() for each in (redis, postgres, gateway)))
    before = stand()
    for number in range(requests):
        act(gateway, number)
    return [(late - early) / requests for late, early in zip(stand(), before)]


def requests_table(gateways, engines, requests):
    print("\n| request | calls of Redis | Redis | its scripts alone | PostgreSQL | gateway | gateway without engines |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind, act in KINDS.items():
        calls, scripts, *spent = measure(gateways[0], engines, act, requests)
        *_, alone = measure(gateways[1], engines, act, requests)
        redis, postgres, own = (f"{micros:.0f} µs" for micros in spent)
        print(f"| {kind} | {calls:.2f} | {redis} | {scripts:.0f} µs | {postgres} | {own} | {alone:.0f} µs |", flush=True)


def idle(gateway, engines, seconds):
    redis, postgres = engines
    before = (redis.calls()[0], redis.seconds(), postgres.seconds(), gateway.seconds())
    time.sleep(seconds)
    after = (redis.calls()[0], redis.seconds(), postgres.seconds(), gateway.seconds())
    calls, *spent = (late - early for late, early in zip(after, before))
    told = ", ".join(
        f"{name} {1e3 * each / seconds:.2f} ms" for name, each in zip(("Redis", "PostgreSQL", "the gateway"), spent)
    )
    print(f"\nA second in which nobody asks: {calls / seconds:.1f} calls of Redis; {told}.")
    return spent[1] / seconds


def flushes(gateway, postgres, resting):
    """One flush of usage, by how many rows it has: each key makes one."""
    print("\n| rows of a flush | PostgreSQL | a row |\n|--:|--:|--:|")
    for keys in (1, 100, 1000, 4000):
        began, before = time.monotonic(), postgres.seconds()
        for key in range(keys):
            gateway.ask(key, "/v1/chat/completions", chat("same"))
        # What was counted is written when somebody asks for it.
        expect(200, gateway.ask(0, "/api/v1/usage"))
        spent = postgres.seconds() - before - resting * (time.monotonic() - began)
        print(f"| {keys} | {1e3 * spent:.1f} ms | {1e6 * spent / keys:.0f} µs |", flush=True)


def edits(gateway, postgres, resting, count):
    began, before, own = time.monotonic(), postgres.seconds(), gateway.seconds()
    for number in range(count):
        made = gateway.operate("/admin/v1/keys", {"account": f"bench{number}", "create_account": True, "plan": "most"})
        gateway.operate(f"/admin/v1/keys/{made['key']['id']}/revoke")
    took = time.monotonic() - began
    spent = (postgres.seconds() - before - resting * took) / count / 2
    own = (gateway.seconds() - own) / count / 2
    print(
        f"\nA change of a key, until it is in force at the gateway that makes it: {1e3 * took / count / 2:.1f} ms; PostgreSQL "
        f"{1e6 * spent:.0f} µs, the gateway {1e6 * own:.0f} µs."
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", type=lambda path: str(pathlib.Path(path).resolve()))
    arguments.add_argument("--requests", type=int, default=3000, help="of each kind, 4000 at most: so many keys there are")
    arguments.add_argument("--seconds", type=int, default=10)
    asked = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        folder = lambda: stack.enter_context(tempfile.TemporaryDirectory())
        redis, postgres = Redis(folder()), Postgres(folder())
        behind = upstream()
        cluster = f"cluster: {{postgres: '{postgres.url}', redis: '{redis.url}', replicas: 1}}"
        gateways = [Gateway(asked.binary, folder(), lines, behind) for lines in (cluster, "")]
        for running in (redis, postgres, *gateways):
            stack.callback(running.end)
        requests_table(gateways, (redis, postgres), asked.requests)
        resting = idle(gateways[0], (redis, postgres), asked.seconds)
        flushes(gateways[0], postgres, resting)
        edits(gateways[0], postgres, resting, asked.requests // 10)


if __name__ == "__main__":
    main()
