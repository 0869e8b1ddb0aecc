"""Proof of fsg/study/retuning.py and fsg/study/published.py: what every arm can be tuned in, and a table that is one."""

import pytest

from fsg.errors import ConfigError
from fsg.study.published import read_published

LR = "{optimizer.lr: {loguniform: [1e-4, 1e-1]}}"
BETA = "{gradient.beta: {uniform: [0.1, 0.9]}}"


def retuned(**parts):
    lines = "".join(f"  {key}: {value}\n" for key, value in parts.items())
    return "baselines: [ste]", f"baselines: [ste]\nretune:\n{lines}"


def test_every_arm_is_tuned_in_the_common_space_or_in_its_own(files, ablation_text):
    spec = files.load(ablation_text, retuned(trials_per_arm=8, space=LR, spaces=f"{{full: {BETA}}}"))
    assert spec.retune.trials_per_arm == 8
    assert spec.retune.space_of("full").paths == ("gradient.beta",)
    assert spec.retune.space_of("no_lre").paths == spec.retune.space_of("block/ste").paths == ("optimizer.lr",)
    assert spec.retune.space_of("block/full").paths == ("gradient.beta",)


@pytest.mark.parametrize(
    ("parts", "line", "message"),
    [
        ({"trials_per_arm": 8}, 12, 'it needs a "space" for all arms, or "spaces" by arm.'),
        ({"space": LR}, 12, '"retune.trials_per_arm" is missing.'),
        ({"space": LR, "trials_per_arm": 1}, 14, '"retune.trials_per_arm" is 1'),
        ({"trials_per_arm": 8, "space": BETA}, 14, 'arm "ste" cannot be tuned in this space: gradient.beta: '),
        ({"trials_per_arm": 8, "space": BETA}, 14, "Give it a space of its own: retune.spaces.ste."),
        ({"trials_per_arm": 8, "space": "{optimizer.lrr: {uniform: [1, 2]}}"}, 14, 'Did you mean "optimizer.lr"?'),
        ({"trials_per_arm": 8, "spaces": f"{{full: {LR}, no_lre: {LR}}}"}, 12, 'arm "ste" has no space to be tuned in'),
        ({"trials_per_arm": 8, "space": LR, "spaces": f"{{ful: {LR}}}"}, 15, 'is no arm. Did you mean "full"?'),
    ],
)
def test_an_arm_that_cannot_be_tuned_is_refused_at_its_line(files, ablation_text, parts, line, message):
    found = files.refused(ablation_text, retuned(**parts))
    assert found.startswith(f"study.yaml:{line}: ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", '1: expected a header with a column "method", each column once; found nothing.'),
        ("a,b\n1,2\n", 'a column "method", each column once; found a, b.'),
        ("method,a,a\nx,1,2\n", "each column once"),
        ("method,a\n", "1: the table has a header, but no row."),
        ("method,a\nste,1\nema\n", "3: expected 2 cells, as in the header."),
        ("method,a\nste,1,2\n", "2: expected 2 cells"),
        ("method,a\n\udcff,1\n", "cannot be read as a CSV table"),
    ],
)
def test_a_published_table_that_is_none_is_refused(files, ablation_text, text, message):
    path = files.path.parent / "theirs.csv"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    found = files.refused(ablation_text, ("baselines", "published: theirs.csv\nbaselines"))
    assert found.startswith('study.yaml:11: "published" is no table: ')
    assert message in found


def test_a_published_table_is_its_rows_as_written(tmp_path):
    (tmp_path / "t.csv").write_text("\ufeffmethod,mean,std\nste,80.7,\nmulti_fc,88.9,0.4\n", encoding="utf-8")
    assert read_published(tmp_path / "t.csv") == (
        {"method": "ste", "mean": "80.7", "std": ""},
        {"method": "multi_fc", "mean": "88.9", "std": "0.4"},
    )
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read"):
        read_published(tmp_path / "none.csv")
