"""That tools/bench ends badly when the build or the program does, played with stand-ins."""

import os
import pathlib
import subprocess
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parent / "bench"
NAMES = ["cc", "c++", "make", "cmake", "curl", "valgrind"]


class Bench(unittest.TestCase):
    def bench(self, cargo, paths="echo admit"):
        """Runs tools/bench without a HOME; `cargo` and `paths`, the built program, are bodies of shell scripts."""
        with tempfile.TemporaryDirectory() as folder:
            built = pathlib.Path(folder) / "paths"
            scripts = {**dict.fromkeys(NAMES, "exit 0"), "cargo": cargo.format(built=built), "paths": paths}
            scripts["valgrind"] = 'echo "==1== Collected : $(($5 * 7 + 500))" >&2'
            for name, body in scripts.items():
                (pathlib.Path(folder) / name).write_text(f"#!/bin/sh\n{body}\n")
                (pathlib.Path(folder) / name).chmod(0o755)
            path = f"{folder}:{os.environ['PATH']}"
            done = subprocess.run([BENCH], env={"PATH": path}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.split()

    def test_it_counts_each_step(self):
        build = """echo '{{"executable":"{built}"}}'"""
        self.assertEqual(self.bench(build, "echo admit; echo hit"), (0, ["step", "instructions", "admit", "7", "hit", "7"]))

    def test_a_build_that_fails_is_a_failure(self):
        self.assertEqual(self.bench("exit 101"), (101, []))

    def test_a_program_that_fails_is_a_failure(self):
        build = """echo '{{"executable":"{built}"}}'"""
        self.assertEqual(self.bench(build, "exit 3"), (3, []))


if __name__ == "__main__":
    unittest.main()
