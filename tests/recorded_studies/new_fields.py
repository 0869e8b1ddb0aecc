"""Prints the fields that the configuration has had since the last release, as ``fsg/frozen_defaults.json`` wants them."""

import json
from pathlib import Path

import fsg.identity
from fsg.config import TrialConfig
from fsg.identity import defaults
from fsg.study.spec import AblationSpec, SweepSpec

releases = json.loads(Path(fsg.identity.__file__).with_name("frozen_defaults.json").read_text())
known = {(name, field) for tree in releases.values() for name, fields in tree.items() for field in fields}
tree = defaults(TrialConfig, AblationSpec, SweepSpec)
new = {name: {f: value for f, value in fields.items() if (name, f) not in known} for name, fields in tree.items()}
print(json.dumps({name: fields for name, fields in new.items() if fields}, indent=2))
