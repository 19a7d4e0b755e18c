"""The examples of docs/api.md in Python and for curl do what the page says. Those in JavaScript: documented.test.mjs."""

import json
import os
import subprocess
import sys
import unittest

from documented import MARK, alike, examples

STAGE = json.loads(os.environ["STAGE"])["described"]


class Documented(unittest.TestCase):
    maxDiff = None

    def runs(self, language, program, mark):
        """Runs all examples of `language` as one program, in an account of their own."""
        found = examples(language)
        self.assertGreaterEqual(len(found), 7)
        code = "".join(f"{code}\n{mark}\n" for code, _ in found)
        environment = {**os.environ, "GATEWAY": STAGE["gateway"], "KEY": STAGE["documented"][language]}
        done = subprocess.run(
            program, input=code, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        printed = done.stdout.split(MARK)
        self.assertEqual(len(printed), len(found) + 1)
        for (code, shown), text in zip(found, printed):
            with self.subTest(code=code):
                if shown is None:
                    self.assertEqual(text.strip(), "")
                elif language == "sh" and "requests" in shown:
                    # curl shows all of the report, the page a part of it.
                    self.assertTrue(alike(shown, json.loads(text)["totals"]), text)
                else:
                    self.assertTrue(alike(shown, json.loads(text)), text)

    def test_python(self):
        self.runs("python", [sys.executable, "-"], f"print({MARK!r}, flush=True)")

    def test_curl(self):
        self.runs("sh", ["sh", "-e"], f"echo '{MARK}'")

    def test_what_differs_is_seen(self):
        for shown, printed in [
            ({"a": 1}, {"a": 2}),
            ({"a": 1}, {}),
            ({"a": 1}, {"a": 1, "b": 1}),
            ([1], [1, 1]),
            ({"a": [{"b": None}]}, {"a": [{"b": 0}]}),
            ({"created_at": "now"}, {"created_at": 1}),
            (1, True),
        ]:
            self.assertFalse(alike(shown, printed), (shown, printed))
        self.assertTrue(alike({"created_at": "now", "a": [1]}, {"created_at": "then", "a": [1]}))


if __name__ == "__main__":
    unittest.main()
