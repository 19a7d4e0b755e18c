#!/usr/bin/env python3
"""How soon a change of a key is in force, and what keys in the store cost, with few and with many of them.

    benches/stored_keys.py BINARY [--keys 1 10000 1000000] [--changes 500] [--connections 16]

For each number of keys: how long the start takes and how much memory it leaves; then keys are made and revoked one after
another over the operator's API. Of each change: how long its call takes, and how many of the connections, which all workers
share, are answered by the old state behind it. The store is filled by SQL, in the form that the gateway writes; each run has a
folder of its own. Prints a table in Markdown."""

import argparse
import hashlib
import http.client
import json
import pathlib
import sqlite3
import subprocess
import tempfile
import threading
import time

TOKEN = "bench-token-of-the-operator"
NOW = int(time.time() * 1000)

CONFIG = f"""listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", token: {TOKEN}}}
threads: 2
limits: {{auth_failures: off}}
plans: {{most: {{requests_per_minute: 60000000, burst: 1000000}}}}
upstreams: {{llm: {{servers: ["http://127.0.0.1:9"]}}}}
routes: [{{path: /v1/*, upstream: llm}}]
"""


class Gateway:
    """A running gateway in a folder."""

    def __init__(self, binary, folder):
        began = time.monotonic()
        self.process = subprocess.Popen(
            [binary, "serve"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.urls = {}
        while len(self.urls) < 2:
            name, _, url = self.process.stderr.readline().strip().partition(": http://")
            if name in ("gateway", "admin"):
                self.urls[name] = url
        self.started = time.monotonic() - began
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def resident(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024

    def end(self):
        self.process.terminate()
        self.process.wait()


def fill(folder, keys):
    """`keys` keys, each of an account of its own."""
    store = sqlite3.connect(folder / "data" / "accounts.sqlite")
    numbers = range(keys)
    store.executemany(
        "INSERT INTO accounts (id, name, plan, created_at) VALUES (?, ?, 'free', ?)",
        ((f"account{n}", f"account{n}", NOW) for n in numbers),
    )
    store.executemany(
        "INSERT INTO keys (id, account, allowed_ips, allowed_models, created_at, revision) VALUES (?, ?, '[]', '[]', ?, ?)",
        ((f"key_{n:010}", f"account{n}", NOW, n + 1) for n in numbers),
    )
    store.executemany(
        "INSERT INTO key_secrets (digest, key, public_id, created_at) VALUES (?, ?, ?, ?)",
        ((hashlib.sha256(str(n).encode()).digest(), f"key_{n:010}", f"{n:010}", NOW) for n in numbers),
    )
    store.execute("UPDATE revisions SET revision = ? WHERE of = 'keys'", (keys,))
    store.commit()
    store.close()


def ask(connection, method, path, body=None):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    said = json.loads(connection.getresponse().read())
    return time.perf_counter() - began, said


def statuses(connections, key):
    found = []
    for connection in connections:
        connection.request("GET", "/api/v1/usage?from=2027-01-01", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        found.append(answer.status)
    return found


def changes(gateway, count, connections):
    """How long the calls took, in seconds, and how many answers were of the old state."""
    admin = http.client.HTTPConnection(gateway.urls["admin"])
    clients = [http.client.HTTPConnection(gateway.urls["gateway"]) for _ in range(connections)]
    took, late = [], 0
    for number in range(count):
        new = {"account": f"bench{number}", "create_account": True, "plan": "most"}
        spent, made = ask(admin, "POST", "/admin/v1/keys", new)
        took.append(spent)
        late += sum(status == 401 for status in statuses(clients, made["secret"]))
        spent, _ = ask(admin, "POST", f"/admin/v1/keys/{made['key']['id']}/revoke")
        took.append(spent)
        late += sum(status != 401 for status in statuses(clients, made["secret"]))
    return sorted(took), late


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", type=lambda path: str(pathlib.Path(path).resolve()))
    arguments.add_argument("--keys", type=int, nargs="+", default=[1, 10_000, 1_000_000])
    arguments.add_argument("--changes", type=int, default=500)
    arguments.add_argument("--connections", type=int, default=16)
    asked = arguments.parse_args()
    print("| keys | start | memory | a key | change p50 | p99 | longest | answers of the old state |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    empty = None
    for keys in asked.keys:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "gateway.yaml").write_text(CONFIG)
            gateway = Gateway(asked.binary, folder)
            empty = empty or gateway.resident()
            gateway.end()
            fill(folder, keys)
            gateway = Gateway(asked.binary, folder)
            memory = gateway.resident()
            took, late = changes(gateway, asked.changes, asked.connections)
            gateway.end()
        at = lambda part: f"{took[min(len(took) - 1, int(len(took) * part))] * 1000:.1f} ms"
        answers = 2 * asked.changes * asked.connections
        each = f"{max(0, memory - empty) / keys:.0f} B" if keys > 1 else "–"
        print(
            f"| {keys} | {gateway.started:.2f} s | {memory / 1e6:.1f} MB | {each} | {at(0.5)} | {at(0.99)} | {at(1)} "
            f"| {late} of {answers} |", flush=True
        )


if __name__ == "__main__":
    main()
