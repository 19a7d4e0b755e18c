"""What tools/clients fetches, and where it puts it, played with stand-ins for Python, pip and Node."""

import os
import pathlib
import subprocess
import tempfile
import unittest

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"

# `python3 -m venv` makes a venv whose pip, python and node write down that they were called.
PYTHON = r"""
[ "$1" = -V ] && { echo Python 3; exit; }
mkdir -p "$3/bin" "$3/wheel/bin"
cd "$3"
cat >bin/pip <<'END'
#!/bin/sh
echo "pip $1" >>"$CALLS"
exit "${PIP:-0}"
END
cat >bin/python <<'END'
#!/bin/sh
[ "$1" != -c ] || echo "${0%/bin/python}/wheel"
END
cat >wheel/bin/node <<'END'
#!/bin/sh
[ "$1" != --test ] || { echo "node --test ${3##*/clients/} in $CHROMIUM" >>"$CALLS"; exit; }
mkdir -p node_modules "$8"
echo "npm $2 in ${PWD#"$CARGO_TARGET_DIR/"}, compile cache ${NODE_DISABLE_COMPILE_CACHE:+off}" >>"$CALLS"
END
chmod 755 bin/* wheel/bin/node
"""


class Clients(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        python = self.folder / "bin" / "python3"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\n{PYTHON}")
        python.chmod(0o755)
        (self.folder / "bin" / "chromium").symlink_to(python)

    def clients(self, language, **more):
        """Runs tools/clients, and returns its exit code and what was called."""
        calls = self.folder / "calls"
        calls.write_text("")
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.folder / "target"),
            "CALLS": str(calls),
            **more,
        }
        done = subprocess.run([CLIENTS, language], env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode, calls.read_text().splitlines()

    def test_all_lands_in_the_target_folder_and_is_fetched_once(self):
        npm = "npm ci in clients/node, compile cache off"
        self.assertEqual(self.clients("node"), (0, ["pip install", npm]))
        self.assertEqual(self.clients("node"), (0, []))
        self.assertEqual(self.clients("python"), (0, []))
        self.assertEqual(sorted(os.listdir(self.folder / "target" / "clients")), ["node", "venv"])

    def test_the_browser_s_tests_have_packages_of_their_own_and_nothing_of_yesterday(self):
        folder = self.folder / "target" / "clients" / "browser"
        folder.mkdir(parents=True)
        (folder / "gone.test.mjs").touch()
        npm = "npm ci in clients/browser, compile cache off"
        first = sorted((CLIENTS.parent.parent / "tests" / "browser").glob("*.test.mjs"))[0].name
        tests = f"node --test browser/{first} in {self.folder}/bin/chromium"
        self.assertEqual(self.clients("browser"), (0, ["pip install", npm, tests]))
        self.assertEqual(self.clients("browser"), (0, [tests]))
        self.assertFalse((folder / "gone.test.mjs").exists())

    def test_schemathesis_has_a_folder_of_its_own(self):
        self.assertEqual(self.clients("schema"), (0, ["pip install", "pip install"]))
        self.assertEqual(self.clients("schema"), (0, []))
        self.assertEqual(self.clients("attacks"), (0, []))
        self.assertEqual(sorted(os.listdir(self.folder / "target" / "clients")), ["schema", "venv"])

    def test_what_was_fetched_by_half_is_fetched_anew(self):
        self.assertEqual(self.clients("python", PIP="1"), (1, ["pip install"]))
        self.assertEqual(self.clients("python"), (0, ["pip install"]))


if __name__ == "__main__":
    unittest.main()
