"""The examples of docs/api.md: programs by language, and what each section says that they print."""

import json
import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "api.md"

# What no two runs have in common: only its type is compared.
CHANGING = {"account", "bytes", "created_at", "expires_at", "lookup_time_ms", "timestamp"}

# Stands between what two examples print.
MARK = "---- next example ----"


def examples(language):
    """The code blocks of `language`, in the page's order, each with the JSON that stands below it; None: it shows none.

    Examples of several languages that stand side by side share what is below them.
    """
    found, waiting = [], []
    for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if kind == "json":
            shown = json.loads(text)
            found += [(code, shown) for code in waiting]
            waiting = []
        elif kind == language:
            found += [(code, None) for code in waiting]
            waiting = [text]
    return found + [(code, None) for code in waiting]


def alike(shown, printed, name=""):
    """True if `printed` is what was `shown`, but for what changes."""
    if name in CHANGING:
        return type(shown) is type(printed)
    if isinstance(shown, dict) and isinstance(printed, dict):
        return shown.keys() == printed.keys() and all(alike(shown[key], printed[key], key) for key in shown)
    if isinstance(shown, list) and isinstance(printed, list):
        return len(shown) == len(printed) and all(map(alike, shown, printed))
    return type(shown) is type(printed) and shown == printed
