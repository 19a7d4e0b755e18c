"""Holds the instructions of a request to those that benches/baseline.json tells: within 3 %.

    tools/instructions.py            counts, and fails where a step has left its band
    tools/instructions.py --record   writes what it counts as the new baseline

Each step of benches/paths.rs runs under callgrind twice, and the difference between the two is what one run of it
costs; what starts and ends the program does not enter. What else a gateway does in that time, as writing usage each
second, only adds to it: a step outside of its band is counted up to two times more, and the least counts. The program is
built as the tests are, so that there is little to build. Counts hang on the compiler, on valgrind, and on the vector
instructions that memory is copied with: the baseline tells what it was counted with, and elsewhere what is counted is
shown and held to nothing.
"""

import json
import math
import pathlib
import platform
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASELINE = ROOT / "benches" / "baseline.json"
# In per cent.
BAND = 3
# How often a step is counted at most.
MOST_COUNTS = 3
# Each step, and how often it runs the first and the second time.
STEPS = {
    "admit": (1000, 6000),
    "cache-key": (1000, 3000),
    "hit": (1000, 6000),
    "whole-refusal": (100, 1100),
    "whole-hit": (100, 1100),
    "whole-forward": (100, 1100),
}


def first_line(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def counted_with():
    """What the counts hang on."""
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    vectors = [name for name in ("avx2", "erms") if re.search(rf"^flags\s*:.*\b{name}\b", flags, re.MULTILINE)]
    return {
        "rustc": first_line(["rustc", "--version"]),
        "valgrind": first_line(["valgrind", "--version"]),
        "libc": " ".join(platform.libc_ver()),
        "machine": " ".join([platform.machine(), *vectors]),
    }


def build():
    """Builds the program as `cargo test` builds its dependencies, and returns its path."""
    command = ["cargo", "bench", "--locked", "--bench", "paths", "--profile", "dev", "--no-run", "--message-format=json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    built = [message for message in messages if message.get("executable") and message["target"]["name"] == "paths"]
    return built[-1]["executable"]


def instructions(program, step, times):
    """What the program costs in all that runs the step so many times."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        done = subprocess.run([*tool, program, step, str(times)], capture_output=True, text=True, check=False)
    counted = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or counted is None:
        raise RuntimeError(f"{step}: {done.stdout}{done.stderr}")
    return int(counted.group(1))


def least(program, step, known):
    """What a step costs: counted until it is within its band around `known`, a few times at most."""
    few, many = STEPS[step]
    least_of_few = least_of_many = math.inf
    for _ in range(MOST_COUNTS):
        least_of_few = min(least_of_few, instructions(program, step, few))
        least_of_many = min(least_of_many, instructions(program, step, many))
        cost = (least_of_many - least_of_few) // (many - few)
        if known is not None and is_within(cost, known):
            break
    return cost


def count(program, baseline):
    """What each step costs."""
    return {step: least(program, step, baseline.get(step)) for step in STEPS}


def is_within(cost, known):
    """Whether a cost is in the band around what is known."""
    return abs(cost - known) * 100 <= BAND * known


def judge(costs, baseline):
    """A line for each step, and the steps that have left their band."""
    lines, outside = [], []
    for step, cost in costs.items():
        known = baseline.get(step)
        if known is None:
            lines.append(f"{step:14} {cost:9,}  not in the baseline")
            outside.append(step)
            continue
        change = cost / known - 1
        is_outside = not is_within(cost, known)
        lines.append(f"{step:14} {cost:9,}  {change:+6.1%} of {known:,}{'  outside of its band' if is_outside else ''}")
        if is_outside:
            outside.append(step)
    return lines, outside


def main(arguments):
    here = counted_with()
    is_recorded = arguments == ["--record"]
    known = {} if is_recorded else json.loads(BASELINE.read_text(encoding="utf-8"))["instructions"]
    costs = count(build(), known)
    if is_recorded:
        BASELINE.write_text(json.dumps({"counted_with": here, "instructions": costs}, indent=2) + "\n", encoding="utf-8")
    known = json.loads(BASELINE.read_text(encoding="utf-8"))
    lines, outside = judge(costs, known["instructions"])
    print("\n".join(lines))
    if known["counted_with"] != here:
        print(f"held to nothing: counted with {here}, the baseline with {known['counted_with']}")
        return 0
    if outside:
        print(f"outside of 3 %: {', '.join(outside)}; where that is meant, tools/instructions.py --record and commit")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
