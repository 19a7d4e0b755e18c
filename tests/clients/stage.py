"""Sets the stage for the clients' tests and runs them: `stage.py COMMAND...`.

Starts `safecache demo`, and a `safecache serve` in front of it whose routes and keys provoke each refusal, and which
caches what a scripted upstream answers; a third one that speaks HTTP/2 and is there to be attacked; and a fourth
without limits, whose own calls are held to their descriptions. Tells COMMAND about all of them in the variable STAGE
(JSON), stops them when it ends, and exits with its code. Every port is chosen by the system and read from what the
programs print: `gateway: http://...`, `admin: http://...`, `key: ...`.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading

import certificate
import scripted

BINARY = os.environ.get("SAFECACHE_BIN", "target/debug/safecache")

# How long a program may take to say where it listens, and to stop. Generous: only a hang takes this long.
START_SECONDS = 60
STOP_SECONDS = 30

KEYS = {
    "good": {"plan": "enterprise"},
    "patient": {"plan": "one_a_second"},
    "exhausted": {"plan": "one_a_minute"},
    "exhausted_too": {"plan": "one_a_minute"},
    "model_bound": {"plan": "enterprise", "allowed_models": ["demo-small*"]},
    "ample": {"plan": "ample"},
    "address_bound": {"plan": "enterprise", "allowed_ips": ["192.0.2.0/24"]},
}

CONFIG = """
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0"}}
data_dir: {folder}/data
keys_file: {folder}/keys.yaml
plans:
  one_a_second: {{requests_per_minute: 60, burst: 1}}
  one_a_minute: {{requests_per_minute: 1, burst: 1}}
  ample: {{requests_per_minute: 6000000, burst: 1000000}}
upstreams:
  demo: {{servers: ["{demo}"], authorization: "Bearer {demo_key}"}}
  dead: {{servers: ["http://127.0.0.1:{closed_port}"]}}
  hangs_up: {{servers: ["http://127.0.0.1:{hang_up_port}"]}}
  scripted: {{servers: ["{scripted}"]}}
routes:
  - {{path: /flat/*, strip_prefix: /flat, upstream: demo}}
  - {{path: /openai/*, strip_prefix: /openai, upstream: demo, errors: openai}}
  - {{path: /dead/*, strip_prefix: /dead, upstream: dead, errors: openai}}
  - {{path: /hangs_up/*, strip_prefix: /hangs_up, upstream: hangs_up}}
  - {{path: /scripted/*, strip_prefix: /scripted, upstream: scripted, cache: {{}}}}
"""


# One worker: whoever keeps it busy is noticed by all others.
ATTACKED = """
listen: ["127.0.0.1:0", {{address: "127.0.0.1:0", tls: {{cert: "{folder}/cert.pem", key: "{folder}/key.pem"}}}}]
admin: {{listen: "127.0.0.1:0"}}
data_dir: {folder}/attacked
threads: 1
keys_file: {folder}/keys.yaml
limits: {{max_requests_per_connection: 2000, keep_alive: 2s, min_send_rate: 4KiB, auth_failures: off}}
plans:
  one_a_second: {{requests_per_minute: 60, burst: 1}}
  one_a_minute: {{requests_per_minute: 1, burst: 1}}
  ample: {{requests_per_minute: 6000000, burst: 1000000}}
upstreams:
  scripted: {{servers: ["{scripted}"]}}
routes:
  - {{path: /v1/*, upstream: scripted, cache: {{}}}}
"""


# Nothing is behind it: what is described are the gateway's own calls. Nor is anything limited but by what they say.
DESCRIBED = """
listen: 127.0.0.1:0
admin: {{listen: "127.0.0.1:0", token: {token}}}
data_dir: {folder}/described
limits: {{auth_failures: off}}
plans:
  unlimited: {{requests_per_minute: 60000000, burst: 1000000}}
upstreams:
  scripted: {{servers: ["{scripted}"]}}
routes:
  - {{path: /v1/*, upstream: scripted, cache: {{}}}}
keys: """

# Who has keys there: who holds it to its descriptions, and the examples of docs/api.md in each language.
DESCRIBED_KEYS = ["described", "sh", "python", "js"]


class Program:
    """A running safecache, its output shown with a mark in front, and what it said about itself."""

    def __init__(self, *arguments, wanted):
        command = [BINARY, *arguments]
        self.name = arguments[0]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.said, self.complete = {}, threading.Event()
        self.wanted = wanted
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            print(f"# {self.name}: {line.rstrip()}", flush=True)
            found = re.search(r"\b(gateway|admin): (https?://\S+?)/?(?:\s|$)|\b(key): (sk-sc-\S+)", line)
            if found:
                name, what = found[1] or found[3], found[2] or found[4]
                self.said[f"{name}_tls" if what.startswith("https:") else name] = what
            if self.wanted <= self.said.keys():
                self.complete.set()
        self.complete.set()

    def __enter__(self):
        in_time = self.complete.wait(START_SECONDS)
        if not in_time or not self.wanted <= self.said.keys():
            missing = ", ".join(sorted(self.wanted - self.said.keys()))
            self.stop()
            raise SystemExit(f"safecache {self.name} did not say its {missing}")
        return self.said

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"# {self.name}: still running {STOP_SECONDS} s after TERM, killed", flush=True)
            self.process.kill()
            self.process.wait()
        self.reader.join()


def hang_up(listener):
    """An upstream that reads each request to its end and then closes without an answer."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rb") as request:
            length = 0
            while (line := request.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            request.read(length)


def secret(name):
    """A key of our own making: any text of 20 characters or more is one."""
    return f"key-of-the-client-tests-{name}"


def hashed(key):
    """The line of the key list that stands for a key, as the command prints it."""
    done = subprocess.run([BINARY, "hash-key"], input=key + "\n", stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def write_key_list(path):
    keys = [
        {"id": name, "account": "tests", "sha256": hashed(secret(name)), **fields} for name, fields in KEYS.items()
    ]
    # JSON is YAML.
    path.write_text(json.dumps({"keys": keys}, indent=2))


def main(command):
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="safecache-clients-")))
        write_key_list(folder / "keys.yaml")

        # Bound but not listening: connections are refused, and nobody else can take the port.
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=hang_up, args=(listener,), daemon=True).start()

        scripted_url = scripted.start(stack)
        demo_arguments = ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        demo = stack.enter_context(Program(*demo_arguments, wanted={"gateway", "key"}))
        config = folder / "gateway.yaml"
        config.write_text(
            CONFIG.format(
                folder=folder,
                demo=demo["gateway"],
                demo_key=demo["key"],
                closed_port=closed.getsockname()[1],
                hang_up_port=listener.getsockname()[1],
                scripted=scripted_url,
            )
        )
        gateway = stack.enter_context(Program("serve", "--config", str(config), wanted={"gateway"}))
        certificate.write(folder)
        attacked_config = folder / "attacked.yaml"
        attacked_config.write_text(ATTACKED.format(folder=folder, scripted=scripted_url))
        arguments = ["serve", "--config", str(attacked_config)]
        attacked_program = Program(*arguments, wanted={"gateway", "gateway_tls", "admin"})
        attacked = stack.enter_context(attacked_program)
        described_config = folder / "described.yaml"
        token = secret("operator")
        keys = [
            {"id": name, "account": name, "plan": "unlimited", "sha256": hashed(secret(name))}
            for name in DESCRIBED_KEYS
        ]
        described_config.write_text(
            DESCRIBED.format(folder=folder, scripted=scripted_url, token=token) + json.dumps(keys) + "\n"
        )
        arguments = ["serve", "--config", str(described_config)]
        described = stack.enter_context(Program(*arguments, wanted={"gateway", "admin"}))
        stage = {
            "described": {
                "gateway": described["gateway"],
                "key": secret("described"),
                "documented": {language: secret(language) for language in ["sh", "python", "js"]},
                "admin": described["admin"],
                "token": token,
            },
            "attacked": {
                "plain": attacked["gateway"],
                "tls": attacked["gateway_tls"],
                "admin": attacked["admin"],
                "certificate": str(folder / "cert.pem"),
                "process": attacked_program.process.pid,
            },
            "demo": {"url": f"{demo['gateway']}/v1", "key": demo["key"]},
            "gateway": gateway["gateway"],
            "scripted": scripted_url,
            "keys": {name: secret(name) for name in KEYS},
        }
        return subprocess.run(command, env={**os.environ, "STAGE": json.dumps(stage)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
