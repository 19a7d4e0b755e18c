"""The parts of `make check`, `make test` and `make soak`."""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys

from parts import Part, count_cargo, count_tap, count_unittest, run_all

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
PYTHON = sys.executable
# The gateway's package, and those that stand apart from it.
MANIFESTS = ["Cargo.toml", "fuzz/Cargo.toml", "fuzz/whole/Cargo.toml", "loom/Cargo.toml"]


def cargo(command, *arguments):
    return ["cargo", command, "--locked", *arguments]


def check():
    return [
        Part("format", [["cargo", "fmt", "--check", "--manifest-path", manifest] for manifest in MANIFESTS]),
        Part("lints", [cargo("clippy", "--all-targets")]),
        Part("fuzzers", [cargo("check", "--manifest-path", "fuzz/Cargo.toml")]),
        Part("documentation", [cargo("doc", "--no-deps")], environment={"RUSTDOCFLAGS": "-D warnings"}),
        Part("house rules", [cargo("test", "--test", "it", "tidy::")], count_cargo),
        Part("licences", [[PYTHON, "tools/licences.py"]]),
        Part("instructions", [[PYTHON, "tools/instructions.py"]]),
    ]


def test():
    parts = [
        Part("scripts", [[PYTHON, "-m", "unittest", "discover", "--start-directory", "tools"]], count_unittest),
        Part("build", [cargo("build"), cargo("test", "--no-run")]),
        Part("unit and doc tests", [cargo("test", "--lib", "--no-fail-fast"), cargo("test", "--doc")], count_cargo),
        Part("integration tests", [cargo("test", "--test", "it")], count_cargo),
        Part("OpenAI's client for Python", [["tools/clients", "python"]], count_unittest),
        Part("OpenAI's client for Node", [["tools/clients", "node"]], count_tap),
        Part("the console in Chromium", [["tools/clients", "browser"]], count_tap),
        Part("attackers over HTTP/2", [["tools/clients", "attacks"]], count_unittest),
        Part("OpenAPI documents", [["tools/clients", "schema"]], count_unittest),
    ]
    if (ROOT / "loom" / "Cargo.toml").exists():
        parts.append(loom())
    return parts


def loom():
    """The interleavings of the bucket, in a target folder of its own: its flags would rebuild everything else."""
    command = cargo("test", "--manifest-path", "loom/Cargo.toml", "--target-dir", str(TARGET / "loom"))
    flags = f"{os.environ.get('RUSTFLAGS', '')} --cfg loom".strip()
    return Part("loom", [command], count_cargo, {"RUSTFLAGS": flags})


def soak(seed):
    """The same tests with larger numbers: SAFECACHE_SOAK for our own, proptest's own variables for the laws."""
    environment = {
        "SAFECACHE_SOAK": "1",
        "SAFECACHE_SEED": seed,
        "PROPTEST_CASES": "20000",
        "PROPTEST_RNG_SEED": seed,
        "PROPTEST_DISABLE_FAILURE_PERSISTENCE": "1",
    }
    commands = [cargo("test", target, *name, "--no-fail-fast", "--", "--nocapture", "--test-threads=1")
                for target, *name in [("--lib",), ("--test", "it")]]
    return [Part("build", [cargo("build"), cargo("test", "--no-run")]), Part("soak", commands, count_cargo, environment)]


def record(output, seed):
    """Writes the end of a soak to docs/soak.md: what was measured, and the verdict."""
    revision = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    today = datetime.datetime.now(datetime.timezone.utc).date()
    measured = [line for line in output.splitlines() if re.match(r"(measured|test result|ok |FAILED|all )", line)]
    page = ROOT / "docs" / "soak.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(
        "# The last soak\n\n"
        f"`make soak SEED={seed} RECORD=1` on {today}, {os.cpu_count()} cores, {platform.machine()}, "
        f"revision {revision.stdout.strip() or 'unknown'}.\n\n```text\n" + "\n".join(measured) + "\n```\n"
    )


class Tee:
    """Standard output that is also kept."""

    def __init__(self, stream):
        self.stream, self.buffer, self.kept = stream, self, bytearray()

    def write(self, data):
        data = data.encode() if isinstance(data, str) else data
        self.kept += data
        self.stream.buffer.write(data)

    def flush(self):
        self.stream.buffer.flush()


def main(arguments):
    os.chdir(ROOT)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_TERM_COLOR": "never"}
    if arguments == ["check"]:
        return run_all(check(), environment)
    if arguments == ["test"]:
        return run_all(test(), environment)
    if arguments == ["soak"]:
        seed, minutes = os.environ.get("SEED", "1"), float(os.environ.get("MINUTES", "60"))
        sys.stdout = kept = Tee(sys.stdout)
        print(f"seed {seed}, at most {minutes:g} minutes")
        status = run_all(soak(seed), environment, min(minutes, 60) * 60)
        if os.environ.get("RECORD") == "1":
            record(kept.kept.decode("utf-8", "replace"), seed)
        return status
    print("usage: house.py check|test|soak", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
