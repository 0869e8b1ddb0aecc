"""Plug-ins: files that register parts, refused with their own line, carried into other processes, kept by their studies."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from fsg import plugins
from fsg.config import TrialConfig, load_trial
from fsg.errors import ConfigError
from fsg.parts import forget, names
from fsg.plugins import load_kept, load_plugin
from fsg.record.folder import StudyFolder
from fsg.study.spec import load_study, to_yaml

NETS = """
from typing import Literal
from torch import nn
from fsg import Section, register
from fsg.layers import QuantLinear

class Perceptron(Section):
    name: Literal["perceptron"] = "perceptron"
    width: int = 16

@register("model", Perceptron)
def perceptron(config, image_shape, classes, quantizer):
    inputs = image_shape[0] * image_shape[1] * image_shape[2]
    return nn.Sequential(
        nn.Flatten(),
        QuantLinear(inputs, config.width, quantizer=quantizer),
        nn.BatchNorm1d(config.width),
        nn.ReLU(),
        QuantLinear(config.width, classes, quantizer=quantizer),
    )
"""

STUDY = """
name: own
plugins: [nets.py]
base: {model: {name: perceptron, width: 8}, epochs: 1, data: digits}
arms: {ste: {gradient: ste}, wide: {gradient: ste, model: {width: 12}}}
analysis: {reference: ste, baseline: wide}
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
"""


@pytest.fixture
def files(tmp_path):
    """Writes files of a study and forgets afterwards what they registered."""

    def write(**contents):
        for name, text in contents.items():
            (tmp_path / name.replace("_py", ".py").replace("_yaml", ".yaml")).write_text(text)
        return tmp_path

    yield write
    _forget_all()


def _forget_all():
    for file in [*plugins._current]:
        forget(file)
    plugins._loaded.clear()
    plugins._current.clear()


def test_a_study_names_a_file_beside_it_and_then_its_network(files):
    spec = load_study(files(nets_py=NETS, study_yaml=STUDY) / "study.yaml")
    (ref,) = spec.base.plugins
    assert ref.file == "nets.py" and hashlib.sha256(NETS.encode()).hexdigest().startswith(ref.sha256)
    assert spec.base.model.width == 8


def test_the_keys_of_a_guest_are_checked_with_file_and_line(files):
    folder = files(nets_py=NETS, study_yaml=STUDY.replace("width: 12", "widht: 12"))
    with pytest.raises(ConfigError, match=r'study.yaml:5: .*unknown key "model.widht". Did you mean "model.width"'):
        load_study(folder / "study.yaml")


def test_the_content_of_a_plug_in_is_part_of_every_trial(files):
    first = load_study(files(nets_py=NETS, study_yaml=STUDY) / "study.yaml")
    moved = load_study(files(nets_py=NETS, study_yaml=STUDY) / "study.yaml")
    assert moved.digest() == first.digest()
    changed = load_study(files(nets_py=NETS + "# another\n") / "study.yaml")
    assert changed.digest() != first.digest() and changed.base.identity() != first.base.identity()


def test_a_changed_plug_in_is_a_changed_study_which_says_so(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    StudyFolder.create_or_open(load_study(folder / "study.yaml"), folder / "studies")
    files(nets_py=NETS + "# another\n")
    with pytest.raises(Exception, match=r"the plug-in nets.py: its content changed \(SHA-256 was \w+..., is \w+...\)"):
        StudyFolder.create_or_open(load_study(folder / "study.yaml"), folder / "studies")


def test_two_studies_with_two_contents_of_one_file_are_read_side_by_side(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    one = load_study(folder / "study.yaml").base
    files(nets_py=NETS.replace("width: int", "height: int = 3\n    width: int"))
    other = load_study(folder / "study.yaml").base
    assert "height" in other.identity()["model"] or other.model.height == 3
    assert one.derive({"epochs": 2}).model == one.model and other.derive({"epochs": 2}).model == other.model


def test_an_accepted_change_of_a_plug_in_goes_on_with_the_new_content(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    StudyFolder.create_or_open(load_study(folder / "study.yaml"), folder / "studies")
    files(nets_py=NETS.replace("width: int = 16", "width: int = 4"))
    spec = load_study(folder / "study.yaml")
    study = StudyFolder.create_or_open(spec, folder / "studies", accept_changes=True)
    assert study.spec() == spec and len(list((study.path / "plugins").iterdir())) == 2


def test_a_study_is_read_by_its_own_copy_when_the_file_is_gone(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    study = StudyFolder.create_or_open(load_study(folder / "study.yaml"), folder / "studies")
    before = study.spec()
    (folder / "nets.py").unlink()
    _forget_all()
    again = study.spec()
    assert again == before and again.digest() == before.digest() and "perceptron" in names("model")
    (copy,) = (study.path / "plugins").iterdir()
    _forget_all()
    copy.write_text(NETS + "# by hand\n")
    with pytest.raises(ConfigError, match="copy of its plug-in was changed"):
        study.spec()
    copy.unlink()
    with pytest.raises(ConfigError, match=r"copy of its plug-in nets.py cannot be read"):
        study.spec()


def test_another_process_gets_the_plug_in_with_the_trial(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    config = load_study(folder / "study.yaml").base
    (folder / "trial.pickle").write_bytes(pickle.dumps(config))
    (folder / "nets.py").unlink()
    code = (
        "import pickle, sys; c = pickle.load(open(sys.argv[1], 'rb')); from fsg.train import Trainer;"
        "print(c.model.width, next(iter(Trainer(c))).epoch, c.identity()['plugins'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "trial.pickle")], capture_output=True, text=True, cwd="/", check=True
    )
    assert done.stdout.split()[:2] == ["8", "1"] and config.plugins[0].sha256 in done.stdout


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("\n1 / 0\n", 2, "the plug-in raised ZeroDivisionError"),
        ("def f():\n    raise OSError('no')\nf()\n", 2, "the plug-in raised OSError: no"),
        ("x = (\n", 1, "the plug-in is no Python"),
        ("import sys\nsys.exit(3)\n", 2, "the plug-in raised SystemExit: 3"),
        ("import not_there\n", 1, "the plug-in raised ModuleNotFoundError"),
        (NETS.replace('"perceptron"', '"resnet20"'), 11, 'the model "resnet20" is registered already, by fsg itself'),
        (NETS.replace("(Section)", "(Plain)").replace("class P", "from pydantic import BaseModel as Plain\nclass P"),
         12, "the section Perceptron is not frozen"),
    ],
)  # fmt: skip
def test_a_plug_in_that_cannot_be_is_named_with_its_line_and_leaves_nothing(text, line, said, files):
    folder = files(nets_py=text, study_yaml=STUDY)
    known = names("model")
    with pytest.raises(ConfigError) as caught:
        load_study(folder / "study.yaml")
    assert f"{folder / 'nets.py'}:{line}: {said}" in str(caught.value)
    assert f"It is named at {folder / 'study.yaml'}:3." in str(caught.value) and names("model") == known


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nest.py", r"nest.py: no such plug-in. Did you mean \".*nets.py\""),
        ("nets.txt", r"nets.txt: a plug-in is a Python file"),
        (".", r": is a folder; name a file of it"),
        ("[a]", r"no such plug-in"),
    ],
)
def test_a_file_that_is_no_plug_in_is_named(named, said, files):
    folder = files(nets_py=NETS, study_yaml=STUDY.replace("[nets.py]", f"['{named}']"))
    (folder / "nets.txt").write_text("")
    with pytest.raises(ConfigError, match=said):
        load_study(folder / "study.yaml")


@pytest.mark.parametrize("value", ["3", "{a: b}", "[3]"])
def test_what_names_no_files_is_refused_with_its_line(value, files):
    folder = files(nets_py=NETS, study_yaml=STUDY.replace("[nets.py]", value))
    with pytest.raises(ConfigError, match=r"study.yaml:3: .*expected paths of Python files"):
        load_study(folder / "study.yaml")


def test_two_files_of_one_name_are_refused(files, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nets.py").write_text(NETS.replace("perceptron", "other"))
    folder = files(nets_py=NETS, study_yaml=STUDY.replace("[nets.py]", "[nets.py, other/nets.py]"))
    with pytest.raises(ConfigError, match=r'study.yaml:3: two plug-ins are named "nets.py"'):
        load_study(folder / "study.yaml")


def test_a_trial_names_plug_ins_too_and_a_command_adds_more(files):
    folder = files(
        nets_py=NETS, more_py=NETS.replace("erceptron", "ot"), trial_yaml="plugins: nets.py\nmodel: perceptron\n"
    )
    config = load_trial(folder / "trial.yaml", ["model.width=5"], [folder / "more.py"])
    assert [ref.file for ref in config.plugins] == ["nets.py", "more.py"] and config.model.width == 5
    assert load_trial(None, ["model=pot"], [folder / "more.py"]).model.name == "pot"


def test_an_edited_file_replaces_what_it_registered(files):
    folder = files(nets_py=NETS)
    load_plugin(folder / "nets.py")
    files(nets_py=NETS.replace("width: int = 16", "width: int = 3").replace('"perceptron"', '"other"'))
    load_plugin(folder / "nets.py")
    assert "other" in names("model") and "perceptron" not in names("model")


def test_a_study_as_written_is_the_same_study(files):
    folder = files(nets_py=NETS, study_yaml=STUDY)
    spec = load_study(folder / "study.yaml")
    study = StudyFolder.create_or_open(spec, folder / "studies")
    (study.path / "copy.yaml").write_bytes(to_yaml(spec))
    assert load_study(study.path / "copy.yaml") == spec == study.spec()


def test_the_base_names_no_files(files):
    text = STUDY.replace("plugins: [nets.py]\n", "").replace("base: {", "base: {plugins: [nets.py], ")
    with pytest.raises(ConfigError, match=r"study.yaml:3: .*name files at the top of the study: plugins"):
        load_study(files(nets_py=NETS, study_yaml=text) / "study.yaml")


def test_an_installed_package_is_found_by_its_entry_point_and_its_version_counts(tmp_path):
    """In a process of its own: a package's modules stay imported."""
    site = tmp_path / "site"
    info = site / "own_nets-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "own_nets.py").write_text(NETS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-nets\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[fsg.components]\nnets = own_nets\n")
    code = (
        "import pickle; from fsg.config import load_trial; from fsg.plugins import installed;"
        "c = load_trial(None, ['model=perceptron']); d = load_trial(None);"
        "print(installed(), c.identity()['plugins'], 'plugins' in d.identity(), pickle.loads(pickle.dumps(c)) == c)"
    )
    root = str(Path(plugins.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={"PYTHONPATH": f"{root}:{site}", "PATH": ""}, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("{'own-nets': '1.2'} {'own-nets==1.2': '") and done.stdout.endswith("False True\n")


def test_a_study_without_plug_ins_has_the_identity_it_had():
    assert "plugins" not in TrialConfig().identity()


def test_a_kept_copy_of_a_loaded_plug_in_is_not_read_again(files):
    folder = files(nets_py=NETS)
    load_kept(load_plugin(folder / "nets.py"), folder / "nowhere")  # where there is none
    assert "perceptron" in names("model")
