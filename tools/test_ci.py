"""The last line of .ci/run, and its exit code, whatever becomes of make."""

import os
import pathlib
import subprocess
import tempfile
import unittest

RUN = pathlib.Path(__file__).resolve().parent.parent / ".ci" / "run"


class LastLine(unittest.TestCase):
    def start(self, folder, make):
        """Starts .ci/run with a stand-in for make, which is called once for `check` and once for `test`."""
        stand_in = pathlib.Path(folder) / "make"
        stand_in.write_text(f"#!/bin/sh\n{make}\n")
        stand_in.chmod(0o755)
        (pathlib.Path(folder) / "tmp").mkdir()
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "TMPDIR": f"{folder}/tmp"}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([RUN], env=environment, text=True, **pipes)

    def run_with(self, make):
        with tempfile.TemporaryDirectory() as folder, self.start(folder, make) as running:
            output, _ = running.communicate()
            self.assertEqual(os.listdir(f"{folder}/tmp"), [])
        return running.returncode, output.splitlines()[-1]

    def test_it_adds_up(self):
        self.assertEqual(self.run_with('echo "3 passed, 0 failed"'), (0, "6 passed, 0 failed"))
        self.assertEqual(self.run_with('echo "3 passed, 2 failed"; exit 2'), (1, "6 passed, 4 failed"))

    def test_one_that_says_nothing_has_failed(self):
        self.assertEqual(self.run_with('echo "Missing: cmake" >&2; exit 1'), (1, "0 passed, 2 failed"))
        self.assertEqual(self.run_with("exit 0"), (1, "0 passed, 2 failed"))

    def test_a_bad_end_is_a_failure_though_none_was_counted(self):
        self.assertEqual(self.run_with('echo "3 passed, 0 failed"; exit 2'), (1, "6 passed, 2 failed"))

    def test_a_signal_leaves_the_line_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            gate = pathlib.Path(folder) / "gate"
            os.mkfifo(gate)
            with self.start(folder, f'echo started; read -r line <"{gate}"') as running:
                self.assertEqual(running.stdout.readline(), "started\n")
                running.terminate()
                self.assertEqual((running.wait(), running.stdout.read()), (1, "0 passed, 1 failed\n"))
                self.assertEqual(os.listdir(f"{folder}/tmp"), [])
                gate.open("w").close()


if __name__ == "__main__":
    unittest.main()
