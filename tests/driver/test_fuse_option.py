"""``--fuse``: a study that begins is fused as it is asked; one that has begun stays as it is."""

import pytest
from tiny_studies import ABLATION, BASE

from fsg.driver.fusing import with_fusing
from fsg.errors import ConfigError
from fsg.execution.engine import Resources
from fsg.record.folder import StudyFolder
from fsg.study.spec import load_study


def spec_of(tmp_path, **base):
    import yaml

    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(ABLATION | {"base": BASE | base}))
    return load_study(file)


def test_a_number_fuses_and_off_does_not(tmp_path):
    spec = spec_of(tmp_path)
    fused, resources = with_fusing(spec, "5", str(tmp_path), Resources())
    assert fused.base.fused and resources.fuse == 5
    apart, resources = with_fusing(spec, "off", str(tmp_path), Resources())
    assert apart == spec and resources.fuse == 1


def test_auto_fuses_where_packs_were_measured_to_be_faster(tmp_path, monkeypatch):
    import fsg.train.fused.probe as probe

    spec, asked = spec_of(tmp_path), []

    def measured(config, members, threads):
        asked.append((config.gradient.name, members, threads))
        return 0.3 if len(asked) == 1 else 0.95

    monkeypatch.setattr(probe, "share_of_time", measured)
    assert with_fusing(spec, "auto", str(tmp_path), Resources())[0].base.fused
    assert not with_fusing(spec, "auto", str(tmp_path), Resources())[0].base.fused
    assert asked == [("ste", 4, 1)] * 2, "two arms with two seeds"


@pytest.mark.parametrize("begun", [True, False])
def test_a_study_that_has_begun_stays_as_it_is(tmp_path, begun):
    StudyFolder.create_or_open(spec_of(tmp_path, fused=begun), tmp_path / "studies")
    for asked in ("3", "auto", "off"):
        spec, _ = with_fusing(spec_of(tmp_path), asked, str(tmp_path / "studies"), Resources())
        assert spec.base.fused == begun, asked


def test_another_word_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='--fuse is "many", expected auto, off, or a number'):
        with_fusing(spec_of(tmp_path), "many", str(tmp_path), Resources())
