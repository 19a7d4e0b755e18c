"""Runs commands as the parts of one whole, times each, counts what they tested, and adds it all up.

A part fails if a command fails, if what it printed counts a failure, or if it counts nothing at all: a filter
that matches no test must not look like success.
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Counts:
    """How many tests passed and failed."""

    passed: int
    failed: int

    def __add__(self, other):
        return Counts(self.passed + other.passed, self.failed + other.failed)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed"


@dataclass
class Part:
    """One part: its name, the commands in order, how to count what they print, and what they find around them.

    `count` takes the output of one command and returns its Counts, or None if that says nothing.
    Without it, a command counts as one test.
    """

    name: str
    commands: list
    count: object = None
    environment: dict = field(default_factory=dict)


def count_cargo(output):
    """The sum of cargo's `test result:` lines."""
    lines = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed;", output, re.MULTILINE)
    return sum((Counts(int(passed), int(failed)) for passed, failed in lines), Counts(0, 0))


def count_unittest(output):
    """The closing lines of Python's unittest. Skipped tests did not run; they count as neither."""
    ran = re.findall(r"^Ran (\d+) tests? in ", output, re.MULTILINE)
    if not ran:
        return None
    closing = output[output.rindex("\nRan ") :]

    def said(word):
        found = re.search(rf"\b{word}=(\d+)", closing)
        return int(found.group(1)) if found else 0

    failed = said("failures") + said("errors") + said("unexpected successes")
    return Counts(max(0, int(ran[-1]) - failed - said("skipped")), failed)


def count_tap(output):
    """The closing comments of Node's TAP reporter."""
    passed = re.findall(r"^# pass (\d+)$", output, re.MULTILINE)
    failed = re.findall(r"^# (?:fail|cancelled) (\d+)$", output, re.MULTILINE)
    if not passed:
        return None
    return Counts(int(passed[-1]), sum(int(count) for count in failed[-2:]))


# A failed test's name as cargo, unittest and TAP print it; and, with the line after it, what a Rust test died of.
FAILURE = re.compile(
    r"^(?:test .+ \.\.\. FAILED|(?:FAIL|ERROR): .+|not ok .+|error(?:\[\w+\])?: .+|thread .+ panicked at .+\n.*)$", re.MULTILINE
)
TOLD_FAILURES = 12


def failures(output):
    """What failed, as the closing table tells it: whoever keeps only the end of a log still learns the reason."""
    told = [line for found in FAILURE.findall(output) for line in found.splitlines()]
    return told[:TOLD_FAILURES]


def judge(counts, status):
    """The verdict on a part: its counts, made to fail if it ran nothing or ended badly without a counted failure."""
    counts = counts or Counts(0, 0)
    nothing_ran = counts == Counts(0, 0)
    uncounted_failure = status != 0 and counts.failed == 0
    return counts + Counts(0, 1) if nothing_ran or uncounted_failure else counts


def run(command, environment, deadline):
    """Runs a command, shows and returns what it prints, and its exit code. At `deadline` it is ended; None: never."""
    shown = " ".join(command)
    print(f"$ {shown}", flush=True)
    if deadline is not None:
        left = max(1, int(deadline - time.monotonic()))
        command = ["timeout", "--kill-after=30", str(left), *command]
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", flush=True)
        return "", 127
    lines = []
    with process:
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            lines.append(line.decode("utf-8", "replace"))
    return "".join(lines), process.returncode


def run_part(part, environment, deadline):
    """Runs one part to its end, a failed command or not, and returns its Counts and what failed."""
    counts, worst, failed = Counts(0, 0), 0, []
    for command in part.commands:
        output, status = run(command, {**environment, **part.environment}, deadline)
        worst = worst or status
        if status != 0:
            failed += failures(output)
        if part.count is None:
            counts += Counts(1, 0) if status == 0 else Counts(0, 1)
        else:
            counts += part.count(output) or Counts(0, 0)
    return judge(counts, worst), failed


def run_all(parts, environment, limit=None):
    """Runs every part, whatever became of the others; prints a table and the sum, and returns the exit code.

    `limit` is how many seconds all of them may take together; None: no bound.
    """
    begun = time.monotonic()
    deadline = None if limit is None else begun + limit
    rows, total = [], Counts(0, 0)
    for part in parts:
        print(f"\n=== {part.name} ===", flush=True)
        part_begun = time.monotonic()
        counts, failed = run_part(part, environment, deadline)
        rows.append((part.name, time.monotonic() - part_begun, counts, failed))
        total += counts
    print()
    for name, seconds, counts, failed in rows:
        print(f"{'FAILED' if counts.failed else 'ok':6}  {seconds:7.1f} s  {name}: {counts}")
        for line in failed:
            print(f"        {line}")
    print(f"{'all':6}  {time.monotonic() - begun:7.1f} s")
    print(total, flush=True)
    return 1 if total.failed or not rows else 0
