"""The reading of SPDX expressions, and what is said of a dependency that does not fit."""

import unittest

from licences import Malformed, is_allowed, problems, unexplained

ALLOWED = {"MIT", "ISC", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}


class Expressions(unittest.TestCase):
    def check(self, expected, *expressions):
        for expression in expressions:
            self.assertEqual(is_allowed(expression, ALLOWED), expected, expression)

    def test_one_side_of_an_or_is_enough(self):
        self.check(True, "MIT", "GPL-3.0 OR MIT", "MIT OR GPL-3.0", "MIT/GPL-3.0", "GPL-3.0 / MIT")
        self.check(False, "GPL-3.0", "GPL-3.0 OR LGPL-2.1", "GPL-3.0/LGPL-2.1")

    def test_both_sides_of_an_and_are_needed(self):
        self.check(True, "MIT AND ISC")
        self.check(False, "MIT AND GPL-3.0", "GPL-3.0 AND MIT")

    def test_and_binds_tighter_than_or(self):
        self.check(True, "MIT OR GPL-3.0 AND LGPL-2.1", "GPL-3.0 AND LGPL-2.1 OR MIT")
        self.check(False, "(MIT OR GPL-3.0) AND LGPL-2.1", "GPL-3.0 AND (LGPL-2.1 OR MIT)")
        self.check(True, "(MIT OR GPL-3.0) AND ISC", "((MIT))")

    def test_with_makes_another_licence(self):
        self.check(True, "Apache-2.0 WITH LLVM-exception OR GPL-3.0")
        self.check(False, "MIT WITH LLVM-exception", "Apache-2.0 WITH Other-exception")

    def test_what_is_no_expression_is_refused(self):
        for expression in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT, ISC", "MIT WITH", "()"]:
            with self.assertRaises(Malformed, msg=expression):
                is_allowed(expression, ALLOWED)


class Problems(unittest.TestCase):
    POLICY = {"allow": ["MIT"], "exceptions": [{"crate": "odd", "allow": ["CC0-1.0"]}]}

    def found(self, *packages):
        return problems([{"name": name, "version": "1.0.0", "license": licence} for name, licence in packages], self.POLICY)

    def test_each_kind_is_named(self):
        self.assertEqual(self.found(("a", "MIT"), ("odd", "CC0-1.0")), [])
        self.assertEqual(
            self.found(("b", "GPL-3.0"), ("c", None), ("d", "what?"), ("e", "CC0-1.0"), ("odd", "CC0-1.0")),
            [
                "b 1.0.0: GPL-3.0 is not in deny.toml's list",
                "c 1.0.0: names no licence",
                "d 1.0.0: 'what?' is no SPDX expression",
                "e 1.0.0: CC0-1.0 is not in deny.toml's list",
            ],
        )

    def test_an_idle_exception_is_named(self):
        self.assertEqual(self.found(("odd", "MIT")), ["deny.toml: the exception for odd is used by nothing"])

    def test_an_exception_needs_a_reason(self):
        line = '  { crate = "odd", allow = ["CC0-1.0"] },'
        self.assertEqual(unexplained(f"exceptions = [\n  # Because.\n{line}\n]"), [])
        self.assertEqual(unexplained(f"exceptions = [\n{line}\n]"), [f"deny.toml: give a reason above {line.strip()}"])


if __name__ == "__main__":
    unittest.main()
