"""What every design of an ablation must do."""

from __future__ import annotations

from pathlib import Path

from fsg.config import merge, parse_trial
from fsg.study.designs import ARM_NAME, DesignBase
from fsg.study.spec import AblationSpec, load_study, to_yaml
from fsg.testing.contract import PLUGINS, SMALL, Contract


class DesignContract(Contract):
    """Of a part of the kind ``design``. ``config``: the design as a study writes it, with its ``kind``; ``trial``: the base."""

    kind = "design"

    def make(self) -> AblationSpec:
        """A study of it, with two seeds."""
        refs = [ref.model_dump() for ref in self.load()]
        base = parse_trial(merge({**SMALL, "gradient": "fsg"}, self.trial) | {PLUGINS: refs})
        metric = {"name": "val_accuracy", "mode": "max"}
        return AblationSpec.model_validate(
            {"name": "contract", "base": base, "seeds": (0, 1), "metric": metric, "design": self._written()}
        )

    def test_its_arms_are_trials_that_differ(self) -> None:
        """At least two, each with a name, and one trial for each seed."""
        spec = self.make()
        arms = spec.plan.arms
        for name in arms:
            assert ARM_NAME.fullmatch(name.rpartition("/")[2]), f'"{name}" cannot name an arm.'
        assert len({trial.key for trial in spec.plan.trials()}) == 2 * len(arms)

    def test_it_is_the_same_whenever_it_is_asked(self) -> None:
        """Arms, their order, blocks and factors."""
        design = self.section
        assert isinstance(design, DesignBase), "derive it from fsg.DesignBase."
        for question in ("arms", "blocks", "factors", "levels", "left_out", "aliases", "ends", "doses"):
            one, other = getattr(design, question)(), getattr(self.section, question)()
            assert one == other, f"{question}() is {one!r}, and then {other!r}."

    def test_what_it_names_are_its_arms(self) -> None:
        """Levels, doses and ends: a table is made of them."""
        design = self.section
        arms = [arm.name for arm in design.arms()]
        levels, (path, doses) = design.levels(), design.doses()
        for name, on in levels.items():
            assert name in arms and len(on) == len(design.factors()), (
                f"levels() has {name}: {on}, of the factors {design.factors()} and the arms {arms}."
            )
        assert set(doses) <= set(arms) and bool(path) == bool(doses), (
            f"doses() is {path!r}, {doses!r}; arms are {arms}."
        )
        assert set(design.ends() or ()) <= set(arms), f"ends() is {design.ends()}, arms are {arms}."
        for block in self.make().plan.blocks:
            assert {block.reference, *filter(None, [block.baseline])} <= set(block.arms)

    def test_a_study_keeps_it(self, tmp_path: Path) -> None:
        """Written into a study's folder and read again it is the same design with the same trials."""
        spec = self.make()
        spec = spec.model_copy(update={"base": spec.base.model_copy(update={PLUGINS: ()})})
        file = tmp_path / "study.yaml"
        file.write_bytes(to_yaml(spec))
        again = load_study(file, recorded=True)
        assert isinstance(again, AblationSpec) and again.design == spec.design
        assert [trial.key for trial in again.plan.trials()] == [trial.key for trial in spec.plan.trials()]
