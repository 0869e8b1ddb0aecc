"""An ablation design of one's own: the whole, each option replaced by another value, and each two of them at once.

In a study: plugins: [own_design.py], design: {kind: pairs, changes: {gradient.lre: false, gradient.length: 1}}.
"""

import itertools
from typing import Annotated, Any, Literal

from pydantic import Field

from fsg import DesignArm, DesignBase, register
from fsg.config import TrialConfig, merge, nested
from fsg.nearest import did_you_mean_path
from fsg.yaml_source import field_names


class Pairs(DesignBase):
    """``changes``: the dotted path of an option -> the value that replaces the base's."""

    kind: Literal["pairs"]
    changes: Annotated[dict[str, Any], Field(min_length=2)]

    def problems(self, base):
        """(place within the design, reason) of what cannot be; refused with its line before anything starts."""
        for path in self.changes:
            if path not in (known := field_names(TrialConfig)):
                yield ("changes", path), f'a trial has no "{path}".{did_you_mean_path(path, known)}'

    def arms(self):
        """In the order of the table: the whole, one change each, two changes each."""
        found = [DesignArm("full", {})]
        for count in (1, 2):
            for paths in itertools.combinations(self.changes, count):
                over = {}
                for path in paths:
                    over = merge(over, nested(path, self.changes[path]))
                name = "_and_".join(path.rpartition(".")[2] for path in paths)
                found.append(DesignArm(name, over, ("changes", paths[0])))
        return found


register("design", Pairs)
