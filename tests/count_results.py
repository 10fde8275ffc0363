"""How many test cases passed? Adds up the reports that one ctest run left in a folder.

A program of many cases (GoogleTest, unittest) leaves its own report beside ctest.xml and is counted by its cases;
one that leaves none, because it has a single case or because it crashed, counts as one.
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as tree

OWN_LINE = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)


def cases_of_googletest(path):
    suites = tree.parse(path).getroot()
    total, failed = int(suites.get("tests", 0)), int(suites.get("failures", 0)) + int(suites.get("errors", 0))
    skipped = sum(1 for case in suites.iter("testcase")
                  if case.find("skipped") is not None or case.get("status") == "notrun")
    return total - failed - skipped, failed, skipped


def main():
    folder = pathlib.Path(sys.argv[1])
    passed = failed = skipped = 0
    for case in tree.parse(folder / "ctest.xml").getroot().iter("testcase"):
        bad = case.get("status") not in ("run", "notrun", "disabled")
        report = folder / f"{case.get('name')}_test.xml"
        own = OWN_LINE.search(case.findtext("system-out") or "")
        if report.exists():
            counts = cases_of_googletest(report)
        elif own:
            counts = tuple(int(part or 0) for part in own.groups())
        elif case.get("status") in ("notrun", "disabled"):
            counts = (0, 0, 1)
        else:
            counts = (0, 1, 0) if bad else (1, 0, 0)
        if bad and counts[1] == 0:  # it crashed or ran out of time after its last case
            counts = (counts[0], 1, counts[2])
        passed, failed, skipped = passed + counts[0], failed + counts[1], skipped + counts[2]
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
