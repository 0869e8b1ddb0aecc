"""Makes the small schemas here of KubeRay's own: ``python record.py KUBERAY_CHECKOUT VERSION... ``, with tags as v1.6.2.

Of ``ray-operator/config/crd/bases/ray.io_rayjobs.yaml``, version v1, it keeps what clusters/kubernetes.yaml uses, and beside that
the name of every field, so that one that is not known is still refused. Descriptions are left out.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CRD = "ray-operator/config/crd/bases/ray.io_rayjobs.yaml"
OPEN = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
KEPT = ("type", "enum", "pattern", "minimum", "maximum", "required", *OPEN)


def smaller(schema: dict[str, Any], used: Any) -> dict[str, Any]:
    """The schema of what is ``used``; of other fields the names."""
    small = {key: schema[key] for key in KEPT if key in schema}
    if "properties" in schema:
        held = used if isinstance(used, dict) else {}
        small["properties"] = {
            name: smaller(field, held[name]) if name in held else {} for name, field in schema["properties"].items()
        }
    if "additionalProperties" in schema:
        first = next(iter(used.values()), None) if isinstance(used, dict) else None
        small["additionalProperties"] = smaller(schema["additionalProperties"], first)
    if "items" in schema:
        small["items"] = smaller(schema["items"], merged(used) if isinstance(used, list) else used)
    return small


def merged(items: list[Any]) -> Any:
    """All that any of them uses."""
    if not all(isinstance(item, dict) for item in items):
        return items[0] if items else None
    names = dict.fromkeys(name for item in items for name in item)
    return {name: merged([item[name] for item in items if name in item]) for name in names}


def main(checkout: str, *versions: str) -> None:
    """Write one file a version."""
    used = yaml.safe_load((HERE.parents[2] / "clusters/kubernetes.yaml").read_text())
    for version in versions:
        shown = subprocess.run(
            ["git", "-C", checkout, "show", f"{version}:{CRD}"], check=True, capture_output=True, text=True
        )
        crd = yaml.safe_load(shown.stdout)
        (schema,) = [each["schema"]["openAPIV3Schema"] for each in crd["spec"]["versions"] if each["name"] == "v1"]
        source = f"https://github.com/ray-project/kuberay/blob/{version}/{CRD} (Apache-2.0), made small by record.py"
        text = json.dumps({"source": source, "schema": smaller(schema, used)}, separators=(",", ":"))
        (HERE / f"rayjob-{version}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
