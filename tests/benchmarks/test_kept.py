"""Tables that are quoted are those of the kept ledgers, to the digit."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.kept import keep, kept, markdown, opened
from fsg.record.folder import StudyFolder
from fsg.stats.paired import equivalence_test

ROOT = Path(__file__).parents[2]


def plain(text):
    return text.replace("\\", "").replace("−", "-").replace("–", "").replace("★", "").replace("**", "")


def rows(text):
    """Tables of markdown as lists of cells, by the first of them; of several with one first cell the first."""
    found = {}
    for line in plain(text).splitlines():
        if line.startswith("|") and not line.startswith(("| :", "|---", "|--")):
            first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(first, cells)
    return found


def section(path, heading):
    text = (ROOT / path).read_text()
    return re.search(rf"\n## [^\n]*{re.escape(heading)}\n(.*?)\n## ", text, re.DOTALL)[1]


def test_the_tuned_curves_in_the_log_are_those_of_the_ledger():
    quoted, made = rows(section("docs/log.md", "each tuned")), rows(markdown(kept()["surrogates_retuned"]))
    arms = {arm.removesuffix(" (sham)"): cells for arm, cells in quoted.items() if arm != "arm"}
    assert len(arms) == 11
    for arm, (_, validation, test, against, on_test) in arms.items():
        n, validation_made, test_made, _, against_made, on_test_made, *_ = made[arm]
        assert (n, validation, test, on_test) == ("10", validation_made, test_made, on_test_made)
        assert against == against_made


def test_the_designs_in_the_log_are_those_of_the_ledger():
    quoted, made = rows(section("docs/log.md", "and did not")), rows(markdown(kept()["designs"]))
    arms = {arm.partition(" (")[0]: cells for arm, cells in quoted.items() if arm != "arm"}
    assert len(arms) == 8
    for arm, cells in arms.items():
        assert ["10", *cells] == made[arm][:6]


def test_shares_and_lengths_in_the_log_are_those_of_the_ledgers():
    quoted = rows(section("docs/log.md", "Figure 2, on small photographs").partition("Training loss under")[0])
    made = rows(markdown(kept()["real_images_beta"])) | rows(markdown(kept()["real_images_history"]))
    del quoted["arm"]
    assert len(quoted) == 12
    for arm, cells in quoted.items():
        _, validation, test, _, against, on_test, *_ = made[arm]
        expected = [validation, test, against] + ([on_test] if arm != "ste" else [""])
        assert cells == expected, arm


def test_both_optimizers_in_the_log_are_those_of_the_ledger():
    quoted = rows(section("docs/log.md", "Figure 2, on small photographs").partition("Training loss under")[2])
    made = rows(markdown(kept()["real_images_optimizers"]))
    del quoted["arm, optimizer"]
    assert len(quoted) == 6
    for arm, (_, *cells) in quoted.items():
        _, validation, test, _, against, on_test, *_ = made[arm]
        assert cells == [validation, test, against] + ([on_test] if arm != "ste" else [""]), arm


def test_designs_on_photographs_in_the_log_are_those_of_the_ledger():
    quoted = rows(section("docs/log.md", "one costs, one does not matter"))
    made = rows(markdown(kept()["real_images_designs"]))
    del quoted["arm"]
    assert len(quoted) == 5
    for arm, cells in quoted.items():
        assert cells == made[arm.partition(" (")[0]][1:6], arm


def test_the_photographs_in_readme_are_those_of_the_ledger():
    quoted, made = rows(section("README.md", "A result")), rows(markdown(kept()["real_images"]))
    assert len(quoted) == 16
    for arm, (_, test, against, _, on_test, step, _) in list(quoted.items())[1:]:
        _, _, test_made, _, against_made, on_test_made, _, step_made = made[arm]
        assert (test, against, on_test, step) == (test_made, against_made, on_test_made, step_made)


def test_the_equivalence_bounds_in_readme_are_those_of_the_ledger():
    """At the bound two one-sided tests at 5 % just say so: no smaller margin would."""
    quoted = rows(section("README.md", "A result"))
    values = defaultdict(dict)
    with opened(kept()["real_images"]) as folder:
        for record in folder.state().trials.values():
            values[record.arm][record.seed] = record.final_value("val_accuracy")
    for arm, cells in quoted.items():
        if arm not in ("arm", "ste"):
            paired = [values[arm][seed] - values["ste"][seed] for seed in values["ste"]]
            bound = float(cells[3])
            assert equivalence_test(paired, bound + 0.06).equivalent, arm
            assert not equivalence_test(paired, bound - 0.06).equivalent, arm


def test_the_curves_by_protocol_in_the_log_are_those_of_the_ledger():
    quoted, made = rows(section("docs/log.md", "hangs on the protocol")), rows(markdown(kept()["protocol"]))
    del quoted["protocol, quantizer"]
    blocks = [f"{ends}-{quantizer}" for ends in ("binary", "ends", "ends_sign") for quantizer in ("dorefa", "ir_net")]
    assert len(quoted) == len(blocks)
    for block, (ste, *others) in zip(blocks, quoted.values(), strict=True):
        assert ste == made[f"{block}/ste"][1]
        assert others == [made[f"{block}/{arm}"][4] for arm in ("ede", "reste", "bireal")]


def test_a_kept_study_has_the_tables_of_the_whole_one(tmp_path):
    recorded = ROOT / "tests" / "recorded_studies" / "0.1.0" / "factorial"
    before = markdown_of(recorded)
    keep(recorded, tmp_path / "factorial.tar.xz")
    assert markdown(tmp_path / "factorial.tar.xz") == before
    assert (tmp_path / "factorial.tar.xz").stat().st_size < 20_000


def markdown_of(folder):
    from fsg.report.study_report import make_report

    study = StudyFolder(folder)
    return make_report(study.spec(), study.state()).markdown


@pytest.mark.parametrize("name", kept())
def test_what_is_kept_is_small_and_complete(name):
    assert kept()[name].stat().st_size < 300_000
    assert "failed" not in markdown(kept()[name])
