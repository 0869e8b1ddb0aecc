"""Known vulnerabilities of the installed packages, by pip-audit. A finding that a newer version mends is a failure.

The advisory service may be out of reach, or not know the packages of a private mirror: that is said, and is no failure.
"""

import json
import subprocess
import sys

SECONDS = 180

try:
    said = subprocess.run(
        ["uvx", "pip-audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10",
         "--path", next(p for p in sys.path if p.endswith("site-packages"))],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    packages = json.loads(said.stdout)["dependencies"]
except (OSError, ValueError, KeyError, StopIteration, subprocess.TimeoutExpired) as error:
    print(f"audit: not done, the advisory service did not answer ({type(error).__name__}).")
    sys.exit(0)
asked = [p for p in packages if "vulns" in p]
found = [(p["name"], p["version"], v["id"], v["fix_versions"]) for p in asked for v in p["vulns"]]
for name, version, advisory, fixes in found:
    print(f"audit: {name} {version}: {advisory}, mended in {', '.join(fixes) or 'no version yet'}")
print(f"audit: {len(asked)} of {len(packages)} packages known to the advisory service, {len(found)} findings.")
sys.exit(any(fixes for *_, fixes in found))
