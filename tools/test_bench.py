"""That tools/bench ends badly when the build or the program does, played with stand-ins."""

import os
import pathlib
import subprocess
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parent / "bench"
NAMES = ["cc", "c++", "make", "cmake", "curl", "valgrind"]


BUILD = """echo '{{"executable":"{built}"}}'"""
COUNTED = 'echo "==1== Collected : $(($5 * each + 500))" >&2'


class Bench(unittest.TestCase):
    def bench(self, cargo, paths="echo admit"):
        """Runs tools/bench without a HOME; `cargo` and `paths`, the built program, are bodies of shell scripts."""
        with tempfile.TemporaryDirectory() as folder:
            built = pathlib.Path(folder) / "paths"
            scripts = {**dict.fromkeys(NAMES, "exit 0"), "cargo": cargo.format(built=built), "paths": paths}
            scripts["valgrind"] = f'case $4 in *slow) each=102 ;; *slower) each=104 ;; *) each=101 ;; esac\n{COUNTED}'
            for name, body in scripts.items():
                (pathlib.Path(folder) / name).write_text(f"#!/bin/sh\n{body}\n")
                (pathlib.Path(folder) / name).chmod(0o755)
            path = f"{folder}:{os.environ['PATH']}"
            done = subprocess.run([BENCH], env={"PATH": path}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.split()

    def test_it_counts_each_step(self):
        self.assertEqual(
            self.bench(BUILD, "echo admit; echo refuse-unknown; echo refuse-expired"),
            (0, ["step", "instructions", "admit", "101", "refuse-unknown", "101", "refuse-expired", "101"]),
        )

    def test_a_refusal_that_costs_more_than_another_is_a_failure(self):
        self.assertEqual(self.bench(BUILD, "echo refuse-unknown; echo refuse-slow")[0], 0)
        self.assertEqual(self.bench(BUILD, "echo refuse-unknown; echo refuse-slower")[0], 1)

    def test_refusals_that_are_not_counted_are_a_failure(self):
        self.assertEqual(self.bench(BUILD, "echo admit")[0], 1)

    def test_a_build_that_fails_is_a_failure(self):
        self.assertEqual(self.bench("exit 101"), (101, []))

    def test_a_program_that_fails_is_a_failure(self):
        self.assertEqual(self.bench(BUILD, "exit 3"), (3, []))


if __name__ == "__main__":
    unittest.main()
