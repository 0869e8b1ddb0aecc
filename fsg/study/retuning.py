"""Every arm tuned with the same budget before it is compared: what is searched, by arm.

The search itself belongs to running a study; here it is checked that every arm can be searched at all.
Proof: ``tests/study/test_retuning.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from fsg.config import TrialConfig
from fsg.section import Section
from fsg.study.space import Space
from fsg.yaml_source import Location, did_you_mean


class Retune(Section):
    """A search for each arm, before the comparison.

    Args:
        space: Searched for every arm that has none of its own.
        trials_per_arm: Configurations that are tried for each arm.
        seeds_per_config: Seeds of each, none of the comparison's: the best is that by the mean. Those of a hopeless one are not
            all run.
        spaces: Arm -> its own space.
    """

    space: Space | None = None
    trials_per_arm: Annotated[int, Field(ge=2, le=100_000)]
    seeds_per_config: Annotated[int, Field(ge=1, le=100)] = 1
    spaces: dict[str, Space] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _searches_something(self) -> Retune:
        if self.space is None and not self.spaces:
            raise ValueError('it needs a "space" for all arms, or "spaces" by arm.')
        return self

    def space_of(self, arm: str) -> Space | None:
        """What is searched for ``arm`` (its block, if any, before a slash does not matter); None for nothing."""
        return self.spaces.get(arm.rpartition("/")[2], self.space)

    def problem(self, arms: Mapping[str, TrialConfig]) -> tuple[Location, str] | None:
        """(place within this section, reason) of the first arm that cannot be searched; None if all can."""
        names = list(dict.fromkeys(arm.rpartition("/")[2] for arm in arms))
        for name in self.spaces:
            if name not in names:
                return ("spaces", name), f'"retune.spaces" names "{name}", which is no arm.{did_you_mean(name, names)}'
        for arm, config in arms.items():
            name = arm.rpartition("/")[2]
            space = self.space_of(arm)
            if space is None:
                return (), f'arm "{arm}" has no space to be tuned in; add one to "retune.spaces", or a common "space".'
            for path, why in space.misfits(config):
                where: Location = ("spaces", name) if name in self.spaces else ("space",)
                advice = "" if name in self.spaces else f" Give it a space of its own: retune.spaces.{name}."
                place = (*where, path) if path else where
                return place, f'arm "{arm}" cannot be tuned in this space: {path or "space"}: {why}{advice}'
        return None
