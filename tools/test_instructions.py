"""That a step which leaves its band fails, and that a count made with other tools fails nothing."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest
from unittest import mock

import instructions

HERE = {"rustc": "rustc 1", "valgrind": "valgrind-3"}


class Gate(unittest.TestCase):
    def gate(self, costs, known, *arguments, counted_with=None):
        """Runs the gate over what would have been counted and a baseline; its exit code, its output, the baseline."""
        with tempfile.TemporaryDirectory() as folder:
            baseline = pathlib.Path(folder) / "baseline.json"
            told = {"counted_with": counted_with or HERE, "instructions": known}
            baseline.write_text(json.dumps(told), encoding="utf-8")
            printed = io.StringIO()
            with (
                mock.patch.multiple(
                    instructions,
                    BASELINE=baseline,
                    counted_with=lambda: HERE,
                    build=lambda: "program",
                    count=lambda *_: costs,
                ),
                contextlib.redirect_stdout(printed),
            ):
                status = instructions.main(list(arguments))
            return status, printed.getvalue(), json.loads(baseline.read_text(encoding="utf-8"))

    def test_within_three_percent_is_well(self):
        for cost in (971, 1000, 1030):
            self.assertEqual(self.gate({"hit": cost}, {"hit": 1000})[0], 0, cost)

    def test_a_step_outside_is_named(self):
        for cost in (969, 1031):
            status, printed, _ = self.gate({"admit": 500, "hit": cost}, {"admit": 500, "hit": 1000})
            self.assertEqual(status, 1)
            self.assertIn("outside of 3 %: hit;", printed)

    def test_a_step_that_the_baseline_does_not_know_is_a_failure(self):
        self.assertEqual(self.gate({"hit": 1000}, {})[0], 1)

    def test_other_tools_are_held_to_nothing(self):
        status, printed, _ = self.gate({"hit": 2000}, {"hit": 1000}, counted_with={"rustc": "rustc 2"})
        self.assertEqual(status, 0)
        self.assertIn("held to nothing", printed)

    def test_a_recorded_baseline_is_what_was_counted(self):
        status, _, recorded = self.gate({"hit": 2000}, {"hit": 1000}, "--record", counted_with={"rustc": "rustc 2"})
        self.assertEqual((status, recorded), (0, {"counted_with": HERE, "instructions": {"hit": 2000}}))


class Counting(unittest.TestCase):
    def test_start_and_end_do_not_count(self):
        with mock.patch.object(instructions, "instructions", lambda _, step, times: 7777 + len(step) * times):
            self.assertEqual(instructions.count("program", {}), {step: len(step) for step in instructions.STEPS})

    def counted(self, known, *answers):
        """What a step is told to cost if its runs count this, and how many runs there were."""
        answers = iter(answers)
        runs = mock.patch.multiple(instructions, STEPS={"hit": (0, 10)}, instructions=lambda *_: next(answers))
        with runs:
            return instructions.count("program", known)["hit"], len(list(answers))

    def test_a_step_outside_is_counted_again_and_the_least_counts(self):
        self.assertEqual(self.counted({"hit": 100}, 0, 1100, 0, 1000, 0, 1), (100, 2), "not a third time")
        self.assertEqual(self.counted({"hit": 100}, 0, 1000, 0, 1), (100, 2), "not a second time")
        self.assertEqual(self.counted({"hit": 100}, 0, 1100, 0, 1200, 0, 1100, 0, 1), (110, 2), "and no fourth time")

    def test_a_program_that_fails_is_no_count(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, body in [("valgrind", "exit 3"), ("valgrind", "exit 0")]:
                stand_in = pathlib.Path(folder) / name
                stand_in.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
                stand_in.chmod(0o755)
                with mock.patch.dict("os.environ", {"PATH": f"{folder}:/usr/bin:/bin"}), self.assertRaises(RuntimeError):
                    instructions.instructions("program", "hit", 1)


if __name__ == "__main__":
    unittest.main()
