"""The gateway does what its OpenAPI documents say, as far as schemathesis finds out: examples, boundaries, random
requests and sequences of them, right ones and wrong ones, the same with each run. What it leaves out stands in
schemathesis.toml.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

STAGE = json.loads(os.environ["STAGE"])["described"]
SETTINGS = pathlib.Path(__file__).with_name("schemathesis.toml")

# For all runs together.
SECONDS = 180
DEADLINE = time.monotonic() + SECONDS


def described(url, credential):
    """The document at `url`."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {credential}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def data():
    return described(f"{STAGE['gateway']}/api/v1/openapi.json", STAGE["key"])


def admin():
    return described(f"{STAGE['admin']}/admin/v1/openapi.json", STAGE["token"])


def run(document, url, credential, *options):
    """Runs schemathesis, and returns its exit code and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "openapi.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "run", str(path)]
        command += ["--url", url, "--header", f"Authorization: Bearer {credential}", *options]
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=max(1, DEADLINE - time.monotonic()), check=False
        )
    return done.returncode, done.stdout


def resume():
    """Lets the data port's key pass again: operators may suspend any account, and schemathesis does what they may."""
    url = f"{STAGE['admin']}/admin/v1/accounts/described/resume"
    request = urllib.request.Request(url, method="POST", headers={"Authorization": f"Bearer {STAGE['token']}"})
    with urllib.request.urlopen(request, timeout=10):
        pass


class Documents(unittest.TestCase):
    def setUp(self):
        resume()

    def holds(self, document, url, credential):
        operations = sum(len(item) for item in document["paths"].values())
        status, output = run(document, url, credential)
        print("\n".join(f"# {line}" for line in output.splitlines()), flush=True)
        self.assertEqual(status, 0)
        self.assertRegex(output, rf"Operations: +{operations} selected / {operations} total")

    def test_the_data_port_does_what_its_document_says(self):
        self.holds(data(), STAGE["gateway"], STAGE["key"])

    def test_the_admin_listener_does_what_its_document_says(self):
        self.holds(admin(), STAGE["admin"], STAGE["token"])

    def test_a_document_that_lies_is_found_out(self):
        document = data()
        miss = document["components"]["schemas"]["CheckMiss"]
        miss["properties"]["lookup_ms"] = miss["properties"].pop("lookup_time_ms")
        miss["required"] = ["lookup_ms" if name == "lookup_time_ms" else name for name in miss["required"]]
        options = ["--include-operation-id", "check", "--phases", "examples"]
        status, output = run(document, STAGE["gateway"], STAGE["key"], *options)
        self.assertEqual(status, 1, output)
        self.assertIn("Response violates schema", output)


if __name__ == "__main__":
    unittest.main()
