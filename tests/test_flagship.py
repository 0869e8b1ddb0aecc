"""The ablation that README runs first: its components act, which its header states in figures."""

from pathlib import Path

from fsg.data import load_data
from fsg.study.spec import load_study
from fsg.train import probe as module
from fsg.train.probe import tried

FILE = Path(__file__).parents[1] / "ablations" / "components.yaml"
STATED = {"hgs": 0.03, "fsg": 0.04, "lre": 0.01}  # of the direction, as the header has it


def test_every_switch_of_the_flagship_moves_the_direction_by_what_its_header_states(monkeypatch):
    monkeypatch.setattr(module, "TRIED_SECONDS", 300.0)  # a busy machine takes no fewer steps
    header = FILE.read_text().split("\nname:")[0].replace("\n#", "").split()
    assert "at least 3 % without hgs, 4 % without fsg, 1 % without lre" in " ".join(header)
    spec = load_study(FILE)
    config = spec.plan.arms["full"].model_copy(update={"seed": spec.first_seeds[0]})
    found = tried(config, load_data(config.images))
    assert found is not None and found.steps == 200
    assert all(found.changes[name] >= least for name, least in STATED.items()), found.changes
