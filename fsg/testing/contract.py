"""What all contracts share: which part is tried, in which trial, and that its plug-ins are loaded for its tests alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from fsg.config import PLUGINS, SECTIONS, TrialConfig, merge, parse_trial
from fsg.parts import TAGS, Part, find_part, part_of
from fsg.plugins import PluginRef, load_installed, load_plugin, set_aside
from fsg.section import Section

# The trial in which a part is tried: small, and interrupted within its epochs.
SMALL: Mapping[str, Any] = {
    "model": "digits_cnn",
    "quantizer": "dorefa",
    "gradient": "ste",
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": "constant",
    "data": {"name": "synthetic", "batch_size": 8, "augment": False},
    "epochs": 3,
    "checkpoint_every_steps": 2,
    "device": "cpu",
}


class Contract:
    """The base of all contracts. A subclass named ``Test...`` says what is tried:

    ``config``: the part as a study writes it, its name or its section; of a metric or a backend, its name.
    ``plugins``: the file that registers it, or several, relative to the file of the test.
    ``trial``: what else a trial with it needs, as a study writes its base.
    """

    kind: ClassVar[str]
    config: ClassVar[Section | Mapping[str, Any] | str]
    plugins: ClassVar[Sequence[str | Path] | str | Path] = ()
    trial: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def teardown_class(cls) -> None:
        """Called by pytest after the last test of the class: other tests do not know these plug-ins."""
        for ref in cls.load():
            set_aside(ref)

    @classmethod
    def load(cls) -> list[PluginRef]:
        """Register what the plug-ins of this contract have, and what installed packages have."""
        load_installed()
        here = getattr(sys.modules.get(cls.__module__), "__file__", None)
        folder = Path(here).parent if here else Path()
        named = [cls.plugins] if isinstance(cls.plugins, str | Path) else cls.plugins
        return [load_plugin(folder / path) for path in named]

    def make_trial(self, **over: Any) -> TrialConfig:
        """The small trial with this part, and with ``over`` laid over its base."""
        refs = [ref.model_dump() for ref in self.load()]
        small = {key: value for key, value in SMALL.items() if key != self.kind}
        named = {self.kind: self._written()} if self.kind in SECTIONS else {}
        return parse_trial(merge(merge(small | named, self.trial), over) | {PLUGINS: refs})

    @property
    def section(self) -> Any:
        """The part's section, typed."""
        if self.kind in SECTIONS:
            return getattr(self.make_trial(), self.kind)
        written = self._written()
        config = self.part.config
        assert config is not None, f"a {self.kind} has no section"
        return config.model_validate({"name": written} if isinstance(written, str) else written)

    @property
    def part(self) -> Part:
        """What is registered under its name."""
        if self.kind in SECTIONS:
            return part_of(self.kind, self.section)
        self.load()
        written = self._written()
        return find_part(self.kind, written if isinstance(written, str) else written[TAGS.get(self.kind, "name")])

    def fact(self, name: str, *args: Any) -> Any:
        """A fact of the part, of one that depends on options for this section and ``args``."""
        return self.part.fact(name, self.section, *args)

    def _written(self) -> Any:
        return self.config.model_dump() if isinstance(self.config, Section) else self.config
