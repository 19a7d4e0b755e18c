"""What tools/need does on a machine that lacks something, played with stand-ins for apt-get and the tools."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

NEED = pathlib.Path(__file__).resolve().parent / "need"
SERVERS = ["nginx", "haproxy", "slowhttptest"]
ALL = ["c", "c++", "make", "cmake", "git", "curl", *SERVERS, "postgres", "redis", "chromium", "python", "cargo"]
TOOLS = {"cc", "c++", "make", "cmake", "git", "curl", *SERVERS, "initdb", "redis-server", "chromium", "python3", "cargo"}
SHELL = ["sh", "mktemp", "find", "sed", "sort", "comm", "rm", "rmdir", "mkdir", "chmod"]


class Machine:
    """A folder with stand-ins for what is installed; apt-get writes down how it was called."""

    def __init__(self, folder, tools=TOOLS, uid=0, venv=0, apt="exit 0"):
        self.root = pathlib.Path(folder)
        self.bin = self.root / "bin"
        for path in ["bin", "usr/sbin", "etc/ssl/certs", "etc/systemd/system/multi-user.target.wants"]:
            (self.root / path).mkdir(parents=True)
        (self.root / "etc/ssl/certs/ca-certificates.crt").touch()
        for name in SHELL:
            (self.bin / name).symlink_to(shutil.which(name))
        for name in tools:
            self.script(name, "exit 0")
        if "python3" in tools:
            self.script("python3", f"exit {venv}")
        self.script("id", f"echo {uid}")
        self.script("sudo", 'echo "sudo $*" >>"$NEED_ROOT/calls"')
        self.script("apt-get", f'echo "apt-get $*" >>"$NEED_ROOT/calls"\n{apt}')

    def script(self, name, body):
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def need(self):
        environment = {"PATH": str(self.bin), "NEED_ROOT": str(self.root)}
        return subprocess.run([NEED, *ALL], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def calls(self):
        log = self.root / "calls"
        return log.read_text().splitlines() if log.exists() else []


class Need(unittest.TestCase):
    def machine(self, **options):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Machine(folder.name, **options)

    def test_nothing_missing_does_nothing(self):
        machine = self.machine()
        done = machine.need()
        self.assertEqual((done.returncode, done.stdout, done.stderr, machine.calls()), (0, "", "", []))

    def test_root_installs_exactly_what_is_missing(self):
        machine = self.machine(tools=TOOLS - {"cmake", "git"})
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(machine.calls(), ["apt-get install -y --no-install-recommends cmake git"])

    def test_servers_are_found_where_debian_keeps_them(self):
        machine = self.machine(tools=TOOLS - {"nginx", "haproxy"})
        for name in ["nginx", "haproxy"]:
            (machine.root / "usr/sbin" / name).symlink_to(machine.bin / "git")
        self.assertEqual((machine.need().returncode, machine.calls()), (0, []))

    def test_servers_are_installed_like_anything_else(self):
        machine = self.machine(tools=TOOLS - set(SERVERS))
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(machine.calls(), [f"apt-get install -y --no-install-recommends {' '.join(SERVERS)}"])

    def test_databases_are_known_by_their_programs(self):
        machine = self.machine(tools=TOOLS - {"initdb", "redis-server"})
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(machine.calls(), ["apt-get install -y --no-install-recommends postgresql redis-server"])

    def test_postgres_is_found_where_debian_keeps_it(self):
        machine = self.machine(tools=TOOLS - {"initdb"})
        programs = machine.root / "usr/lib/postgresql/15/bin"
        programs.mkdir(parents=True)
        (programs / "initdb").symlink_to(machine.bin / "git")
        self.assertEqual((machine.need().returncode, machine.calls()), (0, []))

    def test_postgres_makes_no_database_of_its_own(self):
        settings = "etc/postgresql-common/createcluster.d"
        machine = self.machine(
            tools=TOOLS - {"initdb"},
            apt=f'cd "$NEED_ROOT"; for file in {settings}/*; do read -r line <$file; echo "$line" >>calls; done',
        )
        self.assertEqual(machine.need().returncode, 0)
        self.assertIn("create_main_cluster = false", machine.calls())
        self.assertFalse((machine.root / settings).exists())
        (machine.root / settings).mkdir(parents=True)
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(os.listdir(machine.root / settings), [], "what was there stays")

    def test_a_browser_is_installed_like_anything_else(self):
        machine = self.machine(tools=TOOLS - {"chromium"})
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(machine.calls(), ["apt-get install -y --no-install-recommends chromium"])

    def test_a_python_without_venv_is_not_enough(self):
        machine = self.machine(venv=1)
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(machine.calls(), ["apt-get install -y --no-install-recommends python3-venv"])

    def test_lists_are_renewed_only_after_a_failure(self):
        fails_once = 'case $1 in install) [ -e "$NEED_ROOT/lists" ] ;; update) echo >"$NEED_ROOT/lists" ;; esac'
        machine = self.machine(tools=TOOLS - {"curl"}, apt=fails_once)
        self.assertEqual(machine.need().returncode, 0)
        install = "apt-get install -y --no-install-recommends curl"
        self.assertEqual(machine.calls(), [install, "apt-get update", install])

    def test_a_failure_that_stays_is_told(self):
        machine = self.machine(tools=TOOLS - {"curl"}, apt="exit 100")
        done = machine.need()
        self.assertEqual(done.returncode, 1)
        self.assertIn("Could not install: curl", done.stderr)

    def test_no_service_is_started_or_left_enabled(self):
        wants, early, late = "etc/systemd/system/multi-user.target.wants", "etc/rcS.d", "etc/rc2.d"
        installs = [
            'cd "$NEED_ROOT"; usr/sbin/policy-rc.d; echo "policy $?" >>calls',
            f"ln -s /x {wants}/new.service; ln -s /x {early}/S01new; ln -s /x {late}/S03new; ln -s /x {late}/K01new",
            # As insserv does: the newcomer comes first, so an old one gets another number.
            f"mv {late}/S01old {late}/S02old",
        ]
        machine = self.machine(tools=TOOLS - {"git"}, apt="\n".join(installs))
        for name in ["ln", "mv"]:
            (machine.bin / name).symlink_to(shutil.which(name))
        for folder, link in [(wants, "old.service"), (early, "S01old"), (late, "S01old")]:
            (machine.root / folder).mkdir(exist_ok=True)
            (machine.root / folder / link).symlink_to("/x")
        self.assertEqual(machine.need().returncode, 0)
        self.assertIn("policy 101", machine.calls())
        left = {folder: sorted(os.listdir(machine.root / folder)) for folder in [wants, early, late, "usr/sbin"]}
        expected = {wants: ["old.service"], early: ["S01old"], late: ["K01new", "S02old"], "usr/sbin": []}
        self.assertEqual(left, expected)

    def test_the_operators_own_policy_stays(self):
        machine = self.machine(tools=TOOLS - {"git"})
        policy = machine.root / "usr/sbin/policy-rc.d"
        policy.write_text("theirs")
        self.assertEqual(machine.need().returncode, 0)
        self.assertEqual(policy.read_text(), "theirs")

    def test_others_get_one_line_to_copy(self):
        machine = self.machine(tools=TOOLS - {"cc", "cargo"}, uid=1000)
        done = machine.need()
        self.assertEqual((done.returncode, machine.calls()), (1, []))
        lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("    ")]
        self.assertEqual(len(lines), 1)
        self.assertRegex(lines[0], r"^sudo apt-get update && sudo apt-get install .*gcc && curl .*sh\.rustup\.rs")

    def test_rust_comes_from_rustup(self):
        machine = self.machine(tools=TOOLS - {"cargo"})
        done = machine.need()
        self.assertEqual((done.returncode, machine.calls()), (1, []))
        self.assertIn("sh.rustup.rs", done.stderr)


if __name__ == "__main__":
    unittest.main()
