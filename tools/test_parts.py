"""What counts as passed and failed, and that nothing at all counts as failed."""

import contextlib
import io
import os
import sys
import unittest

from parts import Counts, Part, count_cargo, count_tap, count_unittest, judge, run_all

CARGO = """
running 2 tests
test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.15s
test result: FAILED. 25 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.15s
"""

TAP = "ok 1 - a\n# tests 5\n# suites 0\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n# todo 0\n"


class Counting(unittest.TestCase):
    def test_cargo(self):
        self.assertEqual(count_cargo(CARGO), Counts(37, 2))
        self.assertEqual(count_cargo("error: could not compile"), Counts(0, 0))

    def test_unittest(self):
        for closing, expected in [
            ("Ran 4 tests in 0.001s\n\nOK\n", Counts(4, 0)),
            ("Ran 1 test in 0.001s\n\nFAILED (failures=1)\n", Counts(0, 1)),
            ("Ran 9 tests in 1s\n\nFAILED (failures=1, errors=2, skipped=3)\n", Counts(3, 3)),
            ("Ran 0 tests in 0.000s\n\nNO TESTS RAN\n", Counts(0, 0)),
        ]:
            self.assertEqual(count_unittest("...\n" + closing), expected, closing)
        self.assertIsNone(count_unittest("ImportError"))

    def test_unittest_counts_an_error_outside_a_test(self):
        # setUpClass that fails: an error, and no test that ran.
        self.assertEqual(count_unittest("\nRan 0 tests in 0.1s\n\nFAILED (errors=1)\n"), Counts(0, 1))

    def test_tap(self):
        self.assertEqual(count_tap(TAP), Counts(3, 2))
        self.assertIsNone(count_tap("Cannot find module"))


class Judging(unittest.TestCase):
    def test_a_part_that_ran_nothing_fails(self):
        self.assertEqual(judge(Counts(0, 0), 0), Counts(0, 1))
        self.assertEqual(judge(None, 0), Counts(0, 1))

    def test_a_bad_end_fails_once(self):
        self.assertEqual(judge(Counts(5, 0), 1), Counts(5, 1))
        self.assertEqual(judge(Counts(5, 2), 1), Counts(5, 2))
        self.assertEqual(judge(Counts(5, 0), 0), Counts(5, 0))


class Running(unittest.TestCase):
    def run_parts(self, *parts, limit=None):
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with contextlib.redirect_stdout(printed):
            status = run_all(parts, dict(os.environ), limit)
        printed.seek(0)
        self.printed = printed.read().splitlines()
        return status, self.printed[-1]

    def say(self, text, status=0):
        return [sys.executable, "-c", f"print({text!r}); raise SystemExit({status})"]

    def test_the_last_line_is_the_sum(self):
        counted = Part("counted", [self.say("test result: ok. 3 passed; 0 failed;")], count_cargo)
        plain = Part("plain", [self.say("x"), self.say("y")])
        self.assertEqual(self.run_parts(counted, plain), (0, "5 passed, 0 failed"))

    def test_the_others_run_when_one_fails(self):
        broken = Part("broken", [self.say("no", 3)])
        absent = Part("absent", [["/nowhere/to/be/found"]])
        empty = Part("empty", [self.say("nothing")], count_cargo)
        self.assertEqual(self.run_parts(broken, absent, empty, Part("fine", [self.say("x")])), (1, "1 passed, 3 failed"))

    def test_the_closing_table_names_what_failed(self):
        output = "test a::b ... ok\ntest a::c ... FAILED\n\nthread 'a::c' (7) panicked at tests/it/a.rs:3:5:\nno answer\nnote: x\n"
        self.run_parts(Part("rust", [self.say(output + "test result: FAILED. 1 passed; 1 failed;", 101)], count_cargo))
        told = [line.strip() for line in self.printed[self.printed.index("") + 1 :]]
        table = told[next(at for at, line in enumerate(told) if line.startswith("FAILED")) + 1 : -2]
        self.assertEqual(table, ["test a::c ... FAILED", "thread 'a::c' (7) panicked at tests/it/a.rs:3:5:", "no answer"])

    def test_a_part_that_takes_too_long_is_ended(self):
        endless = Part("endless", [[sys.executable, "-c", "import threading; threading.Event().wait()"]])
        self.assertEqual(self.run_parts(endless, limit=1), (1, "0 passed, 1 failed"))

    def test_no_parts_at_all_is_a_failure(self):
        self.assertEqual(self.run_parts(), (1, "0 passed, 0 failed"))


if __name__ == "__main__":
    unittest.main()
