#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the cases inside of CTest's tests: usage: count-tests.py JUNIT_FILE

A cmocka binary, a pytest file and a crate are one test for CTest but hold many cases; their own summaries
are added up. Any other test counts as one. Prints "N passed, N failed[, N skipped]" and exits
with 1 when one failed or nothing passed.
"""
import re
import sys
import xml.etree.ElementTree as ET

CMOCKA_PASSED = re.compile(r"^\[  PASSED  \] (\d+) test\(s\)\.", re.M)
CMOCKA_FAILED = re.compile(r"^\[  FAILED  \] (\d+) test\(s\), listed below", re.M)
CMOCKA_SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) test\(s\), listed below", re.M)
CARGO_LINE = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.M)
PYTEST_LINE = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+,? ?)+)in [\d.]+s", re.M)


def cases(case):
    """(passed, failed, skipped) of one test of CTest."""
    out = case.findtext("system-out") or ""
    passed = failed = skipped = 0
    found = False
    for pattern, kind in ((CMOCKA_PASSED, "passed"), (CMOCKA_FAILED, "failed"), (CMOCKA_SKIPPED, "skipped")):
        for n in pattern.findall(out):
            found = True
            passed += int(n) * (kind == "passed")
            failed += int(n) * (kind == "failed")
            skipped += int(n) * (kind == "skipped")
    for p, f, i in CARGO_LINE.findall(out):
        found = True
        passed, failed, skipped = passed + int(p), failed + int(f), skipped + int(i)
    for line in PYTEST_LINE.findall(out):
        found = True
        for n, word in re.findall(r"(\d+) ([a-z]+)", line):
            passed += int(n) * (word in ("passed", "xfailed"))
            failed += int(n) * (word in ("failed", "error", "errors", "xpassed"))
            skipped += int(n) * (word == "skipped")
    status = case.get("status")
    if status in ("notrun", "disabled"):
        return 0, 0, 1
    broken = case.find("failure") is not None or status == "fail"
    if not found:
        return int(not broken), int(broken), 0
    # A crash behind the last summary, or a timeout, must not look like success.
    return passed, failed or int(broken), skipped


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    passed = failed = skipped = 0
    for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
        p, f, s = cases(case)
        passed, failed, skipped = passed + p, failed + f, skipped + s
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
