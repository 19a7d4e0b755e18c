#!/usr/bin/env python3
"""What the calls of the cache API cost with few and with many stored answers.

    benches/cache_api.py BINARY [--rows 1 10000 1000000] [--requests 5000]

For each number of stored answers: how long the start takes, then `check` that finds, `check` that does not, and `store`, one
after another over one connection (time of the median request, CPU of the gateway a request) and stores of 32 connections at
once, memory, and bytes on the disk for an answer. The store is filled by SQL, in the form that the gateway writes; each run has
a folder of its own. Prints a table in Markdown."""

import argparse
import hashlib
import http.client
import json
import os
import pathlib
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time

KEY = "bench-key-of-the-cache-api"
NOW = int(time.time() * 1000)
TICKS = os.sysconf("SC_CLK_TCK")


def messages(number):
    return [{"role": "user", "content": f"question {number}"}]


def prompt_hash(number):
    text = json.dumps(messages(number), separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).digest()


def answer(number):
    return f"The answer to question {number}. " + "x" * 400


class Gateway:
    """A running gateway and its folder."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        (self.folder / "gateway.yaml").write_text(
            "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nthreads: 1\n"
            "plans: {most: {requests_per_minute: 60000000, burst: 1000000, stored_bytes: 1TiB}}\n"
            "upstreams: {llm: {servers: [http://127.0.0.1:9]}}\nroutes: [{path: /v1/*, upstream: llm}]\n"
            f"keys: [{{id: bench, account: bench, plan: most, sha256: {digest}}}]\n"
        )

    def start(self):
        """Starts it; seconds until it served."""
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.binary, "serve"], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for line in self.process.stderr:
            if "gateway: " in line:
                self.address = line.split("//")[1].strip().split(":")
            if "admin: " in line:
                break
        took = time.monotonic() - began
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        return took

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def connect(self):
        connection = http.client.HTTPConnection(self.address[0], int(self.address[1]))
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def cpu(self):
        """Seconds of CPU that it has used."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self):
        """Resident memory, in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def fill(folder, rows):
    """Puts answers 0 to `rows` into the store of a gateway that does not run."""
    database = sqlite3.connect(folder / "data" / "answers.sqlite")
    row = lambda n: ("bench", prompt_hash(n), 256 + len(answer(n)), NOW, NOW + 30 * 86_400_000, answer(n))
    with database:
        database.executemany(
            "INSERT INTO stored_answers (account, prompt_hash, bytes, created_at, expires_at, answer) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            map(row, range(rows)),
        )
    database.close()


def post(connection, path, body):
    connection.request(
        "POST", path, json.dumps(body), {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    )
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text
    return text


def measure(gateway, count, ask):
    """Milliseconds of the median, and microseconds of CPU a request, of so many requests one after another."""
    connection = gateway.connect()
    for number in range(50):
        ask(connection, number)
    times, before = [], gateway.cpu()
    for number in range(count):
        began = time.perf_counter()
        ask(connection, number)
        times.append(time.perf_counter() - began)
    spent = gateway.cpu() - before
    return statistics.median(times) * 1e3, spent / count * 1e6


def together(gateway, count, clients, ask):
    """The same of requests of many connections at once, and how many a second."""
    def one(first, times):
        connection = gateway.connect()
        for number in range(first, count, clients):
            began = time.perf_counter()
            ask(connection, number)
            times.append(time.perf_counter() - began)

    times, before, began = [], gateway.cpu(), time.monotonic()
    threads = [threading.Thread(target=one, args=(first, times)) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    return statistics.median(times) * 1e3, (gateway.cpu() - before) / count * 1e6, count / took


def size(folder):
    return sum(file.stat().st_size for file in (folder / "data").glob("answers.sqlite*"))


def run(binary, rows, requests):
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(binary, folder)
        gateway.start()
        gateway.stop()
        empty = size(gateway.folder)
        fill(gateway.folder, rows)
        on_disk = (size(gateway.folder) - empty) / rows
        started = gateway.start()
        idle = gateway.resident()
        hit = measure(gateway, requests, lambda c, n: post(c, "/api/v1/check", {"messages": messages(n * 7919 % rows)}))
        miss = measure(gateway, requests, lambda c, n: post(c, "/api/v1/check", {"messages": messages(rows + n)}))
        new = lambda base: lambda c, n: post(
            c, "/api/v1/store", {"messages": messages(base + n), "answer": answer(base + n)}
        )
        store = measure(gateway, requests, new(10 * rows))
        many = together(gateway, requests, 32, new(20 * rows))
        resident = gateway.resident()
        gateway.stop()
        cells = [f"{rows:,}", f"{started:.2f} s"]
        cells += [f"{ms:.2f} ms, {us:.0f} µs" for ms, us in (hit, miss, store)]
        cells += [f"{many[0]:.1f} ms, {many[1]:.0f} µs, {many[2]:.0f}/s", f"{idle:.0f} / {resident:.0f} MiB", f"{on_disk:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--rows", type=int, nargs="+", default=[1, 10_000, 1_000_000])
    arguments.add_argument("--requests", type=int, default=5000)
    given = arguments.parse_args()
    binary = str(pathlib.Path(given.binary).resolve())
    heads = ["stored", "start", "check, hit", "check, miss", "store", "store, 32 at once", "memory idle / after", "bytes on disk"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for rows in given.rows:
        run(binary, rows, given.requests)


if __name__ == "__main__":
    main()
