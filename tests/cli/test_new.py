"""``fsg new``: what it writes works as it is, and it never writes over anything."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml
from command_line import python_environment, run_main
from tiny_studies import LocalStudy

from fsg.cli.new import KINDS
from fsg.study.spec import load_study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a part of each kind, and what was said of each."""
    folder, said = tmp_path_factory.mktemp("new"), {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in KINDS:
            said[kind] = run_main(patch, folder, "new", kind, f"my_{kind}", "--into", "parts")
            assert said[kind].code == 0, said[kind].err
    return folder, said


def test_every_part_passes_the_test_that_is_written_with_it(written):
    folder, said = written
    tests = [re.search(r"Try it: pytest (.*)", each.out).group(1) for each in said.values()]
    command = [sys.executable, "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=python_environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_the_study_that_it_names_next_can_be_run(written, kind, monkeypatch):
    folder, said = written
    line = re.search(r"A study with it: (fsg .*)", said[kind].out).group(1)
    begun = run_main(monkeypatch, folder, *shlex.split(line)[1:])
    assert begun.code == 0, begun.err
    following = re.search(r"What it would take: (fsg .*)", begun.out).group(1)
    dry = run_main(monkeypatch, folder, *shlex.split(following)[1:])
    assert dry.code == 0, dry.err
    spec = load_study(folder / "parts" / f"my_{kind}_study.yaml")
    part = f"my_{kind}"
    if kind == "estimator":
        assert part in dry.out
    else:
        assert getattr(spec.base, KINDS[kind]).name == part


def test_a_study_of_several_own_parts_and_one_of_none(written, monkeypatch):
    folder, _ = written
    named = [word for kind in KINDS for word in ("--plugin", f"parts/my_{kind}.py")]
    for name, more in (("all_of_them", named), ("plain", [])):
        said = run_main(monkeypatch, folder, "new", "study", name, "--into", "studies of mine", *more)
        assert said.code == 0 and f"fsg ablate 'studies of mine/{name}.yaml'" in said.out, said.err
        spec = load_study(folder / "studies of mine" / f"{name}.yaml")
        assert len(spec.base.plugins) == len(more) // 2
    assert run_main(monkeypatch, folder, "ablate", "studies of mine/plain.yaml", "--dry-run").code == 0


def test_nothing_is_written_over_and_nothing_half(written, monkeypatch):
    folder, _ = written
    before = {path: path.read_text() for path in (folder / "parts").glob("*.py")}
    said = run_main(monkeypatch, folder, "new", "model", "my_model", "--into", "parts")
    assert said.code == 2 and "parts/my_model.py, parts/test_my_model.py: there already" in said.err
    (folder / "test_half.py").write_text("")
    said = run_main(monkeypatch, folder, "new", "data", "half")
    assert said.code == 2 and "test_half.py: there already, and nothing was written" in said.err
    assert not (folder / "half.py").exists()
    assert before == {path: path.read_text() for path in before}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["estimatr", "mine"],
            'KIND is "estimatr". Did you mean "estimator"? Allowed: estimator, model, quantizer, data, study',
        ),
        (["model", "my-net"], "NAME is 'my-net'; allowed are lower-case letters"),
        (["model", "../net"], "NAME is '../net'"),
        (["model", "class"], "NAME is a word of Python's own, class"),
        (["model", "2nets"], "NAME is '2nets'"),
        (["study", "Mine"], "NAME is 'Mine'"),
        (["model", "resnet20"], 'the model "resnet20" is one of fsg\'s own'),
        (["estimator", "random"], "random.py would hide the module random"),
        (["model", "mine", "--plugin", "a.py"], "--plugin is for fsg new study"),
        (["study", "mine", "--plugin", "nowhere.py"], "nowhere.py: no such plug-in"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(arguments, said, tmp_path, monkeypatch):
    answer = run_main(monkeypatch, tmp_path, "new", *arguments)
    assert answer.code == 2 and said in answer.err and not list(tmp_path.iterdir())


def test_a_folder_to_start_in_has_a_study_that_runs_and_a_part_that_passes_its_test(tmp_path, monkeypatch):
    said = run_main(monkeypatch, tmp_path, "init", "mine")
    assert said.code == 0, said.err
    place = tmp_path / "mine"
    names = {path.name for path in place.iterdir()}
    assert names == {"my_estimator.py", "test_my_estimator.py", "first.yaml", "first.schema.json", ".gitignore"}
    commands = said.out.split("Then:\n")[1].splitlines()
    assert commands == [
        "cd mine",
        "fsg ablate first.yaml --dry-run",
        "fsg ablate first.yaml",
        "pytest test_my_estimator.py",
    ]
    dry = run_main(monkeypatch, place, *commands[1].split()[1:])
    assert dry.code == 0 and "my_estimator" in dry.out, dry.err
    monkeypatch.chdir(place)
    study = LocalStudy(place, yaml.safe_load((place / "first.yaml").read_text()) | {"seeds": [0, 1]})
    assert study.run() and {arm for arm, _ in study.trials} == {"my_estimator", "ste"}
    again = run_main(monkeypatch, tmp_path, "init", "mine")
    assert again.code == 2 and "there already, and nothing was written" in again.err
