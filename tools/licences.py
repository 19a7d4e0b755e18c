"""Checks the licence of every dependency, on every platform, against the list in deny.toml."""

import json
import re
import subprocess
import sys
import tomllib


class Malformed(ValueError):
    """A text that is no SPDX expression."""


def tokens(expression):
    """The words and brackets of an SPDX expression. `/` between two licences is the old way to write OR."""
    pattern = r"\s*(?:([A-Za-z0-9.+:-]+)|([()])|(/))"
    found, position = [], 0
    expression = expression.strip()
    while position < len(expression):
        match = re.compile(pattern).match(expression, position)
        if not match:
            raise Malformed(expression)
        found.append("OR" if match.group(3) else match.group(0).strip())
        position = match.end()
    return found


def is_allowed(expression, allowed):
    """True if the licences in `allowed` satisfy the expression: one side of an OR, both sides of an AND.

    AND binds tighter than OR; `A WITH B` is a licence of its own and must be listed as such.
    """
    rest = tokens(expression)

    def take():
        if not rest:
            raise Malformed(expression)
        return rest.pop(0)

    def either():
        verdict = both()
        while rest and rest[0] == "OR":
            take()
            # Not `or both()`: the other side must be read whatever the verdict.
            verdict = both() | verdict
        return verdict

    def both():
        verdict = one()
        while rest and rest[0] == "AND":
            take()
            verdict = one() & verdict
        return verdict

    def one():
        word = take()
        if word == "(":
            verdict = either()
            if take() != ")":
                raise Malformed(expression)
            return verdict
        if word in (")", "AND", "OR", "WITH"):
            raise Malformed(expression)
        if rest and rest[0] == "WITH":
            take()
            word = f"{word} WITH {take()}"
        return word in allowed

    verdict = either()
    if rest:
        raise Malformed(expression)
    return verdict


def problems(packages, policy):
    """What is wrong with the packages, one line each. `policy` is deny.toml's `licenses` table."""
    allowed = set(policy["allow"])
    exceptions = {exception["crate"]: set(exception["allow"]) for exception in policy.get("exceptions", [])}
    used, found = set(), []
    for package in packages:
        name, licence = package["name"], package.get("license")
        label = f"{name} {package['version']}"
        if not licence:
            found.append(f"{label}: names no licence")
            continue
        try:
            if is_allowed(licence, allowed):
                continue
            if name in exceptions and is_allowed(licence, allowed | exceptions[name]):
                used.add(name)
                continue
            found.append(f"{label}: {licence} is not in deny.toml's list")
        except Malformed:
            found.append(f"{label}: {licence!r} is no SPDX expression")
    found += [f"deny.toml: the exception for {name} is used by nothing" for name in exceptions if name not in used]
    return found


def unexplained(text):
    """The exceptions of deny.toml that have no comment on the line above."""
    lines = text.splitlines()
    pairs = zip([""] + lines, lines)
    return [f"deny.toml: give a reason above {line.strip()}" for above, line in pairs
            if re.match(r"\s*\{\s*crate\b", line) and not above.lstrip().startswith("#")]


def main():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    metadata = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if metadata.returncode != 0:
        return 1
    packages = json.loads(metadata.stdout)["packages"]
    with open("deny.toml", encoding="utf-8") as file:
        text = file.read()
    found = problems(packages, tomllib.loads(text)["licenses"]) + unexplained(text)
    print("\n".join(found) if found else f"{len(packages)} packages, every licence allowed")
    return 1 if found or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
