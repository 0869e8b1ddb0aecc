"""Proof of fsg/study/inputs.py: every data set that a trial may load is known, whatever the space depends on."""

from pathlib import Path

import pytest

from fsg.study.inputs import data_of

SWEEP = """\
name: search
base: {data: BASE, gradient: ste}
metric: {name: val_accuracy, mode: max}
space:
SPACE
search: {trials: 3}
"""
BRANCHES = """\
  gradient: {choice: [ORDER]}
  gradient.lr: {loguniform: [1e-4, 1e-2], when: {gradient: scalar}}
  gradient.beta: {uniform: [0, 1], when: {gradient: fsg}}"""
ROOTS = """\
  data.name: {choice: [digits, image_folder, cifar10]}
  data.root: {choice: [/a, /b], when: {data.name: image_folder}}
  data.batch_size: {randint: [16, 64]}"""


@pytest.fixture
def loads(files):
    """What a sweep over this space may load: (name, root)."""

    def found(space, base="digits"):
        return [(d.name, d.root) for d in data_of(files.load(SWEEP, ("SPACE", space), ("BASE", base)))]

    return found


@pytest.mark.parametrize("order", ["scalar, fsg", "fsg, scalar", "ste, fsg, scalar", "ema, scalar, fsg, ste"])
def test_exclusive_branches_load_what_the_base_loads_in_whatever_order(loads, order):
    assert loads(BRANCHES.replace("ORDER", order)) == []
    assert loads(BRANCHES.replace("ORDER", order), "{name: cifar10, root: /c}") == [("cifar10", "/c")]


def test_a_path_set_by_the_second_choice_alone_is_no_trouble(loads):
    assert loads("  gradient: {choice: [ste, fsg]}\n  gradient.beta: {uniform: [0, 1], when: {gradient: fsg}}") == []


def test_every_data_set_of_a_conditional_root_is_found_and_none_that_no_point_has(loads):
    here = str(Path("data").absolute())
    assert loads(ROOTS) == [("image_folder", "/a"), ("image_folder", "/b"), ("cifar10", here)]
    other = ROOTS.replace("when: {data.name: image_folder}", "when: {data.name: cifar10}")
    own = loads(other, "{name: image_folder, root: /own}")
    assert own == [("image_folder", "/own"), ("cifar10", "/a"), ("cifar10", "/b")]


def test_a_data_set_that_hangs_on_another_section_is_found(loads):
    space = (
        "  quantizer: {choice: [dorefa, bwn]}\n"
        "  data.name: {choice: [digits, image_folder], when: {quantizer: bwn}}\n"
        "  data.root: {fixed: /a, when: {data.name: image_folder}}"
    )
    assert loads(space) == [("image_folder", "/a")]
    assert loads(space, "{name: cifar10, root: /c}") == [("cifar10", "/c"), ("image_folder", "/a")]


def test_a_data_set_is_downloaded_if_any_point_asks_for_it(files):
    spec = files.load(
        SWEEP,
        ("SPACE", "  data.download: {choice: [false, true]}\n  optimizer.lr: {uniform: [0.1, 1]}"),
        ("BASE", "cifar10"),
    )
    assert [data.download for data in data_of(spec)] == [True]


def test_only_the_paths_that_name_a_data_set_are_gone_through(files, monkeypatch):
    """Seven choices of eight values beside it, and conditions on half of them: their product is two million."""
    from fsg.study import inputs

    asked = []
    monkeypatch.setattr(
        inputs, "trial_at", lambda base, values, real=inputs.trial_at: asked.append(values) or real(base, values)
    )
    names = ["epochs", "data.image_size", "data.split_seed", "data.batch_size", "gradient.length", "gradient.lre_size"]
    space = "".join(f"  {name}: {{choice: [16, 17, 18, 19, 20, 21, 22, 23]}}\n" for name in names)
    space += "  data.root: {choice: [/a, /b, /c], when: {epochs: [17, 18], gradient.length: [16, 23]}}"
    spec = files.load(
        SWEEP, ("SPACE", space), ("BASE", "{name: cifar10, root: /c}"), ("gradient: ste", "gradient: fsg")
    )
    assert sorted(data.root for data in data_of(spec)) == ["/a", "/b", "/c"]
    assert len(asked) == 6, "two sides of each condition, and three roots where both hold"


def test_the_data_of_a_study_that_tunes_its_arms_is_that_of_its_searches(files, ablation_text):
    space = "{data.root: {choice: [/a, /b]}, optimizer.lr: {uniform: [0.1, 1]}}"
    spec = files.load(
        ablation_text,
        ("  epochs: 2", "  epochs: 2\n  data: {name: image_folder, root: /own}"),
        ("baselines: [ste]", f"baselines: [ste]\nretune: {{trials_per_arm: 3, space: {space}}}"),
    )
    assert [data.root for data in data_of(spec)] == ["/a", "/b"]
