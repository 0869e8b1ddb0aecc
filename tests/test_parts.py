"""The door: what is registered, by fsg itself and by guests, and what is refused at it."""

import subprocess
import sys
from typing import Literal, get_args

import pytest
from pydantic import BaseModel

from fsg.catalogue.data import DataSection
from fsg.catalogue.gradients import Fsg
from fsg.catalogue.optimizers import OptimizerSection
from fsg.config import SECTIONS, TrialConfig, parse_trial
from fsg.errors import ConfigError
from fsg.parts import FACTS, Source, find_part, forget, guests, names, register, registered_by, resolved
from fsg.section import Section
from fsg.train.loop import Trainer


@pytest.fixture
def door():
    """Registers as a plug-in would, and takes it all out again."""
    source = Source("guest.py", "0" * 16, "file")
    with registered_by(source):
        yield register
    forget("guest.py")


class Wide(Section):
    name: Literal["wide"] = "wide"
    width: int = 8


class Rated(OptimizerSection):
    name: Literal["wide"] = "wide"


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_name_that_a_section_of_fsg_allows_is_registered_with_a_builder(kind):
    sections = {find_part(kind, name).config for name in names(kind)}
    allowed = [name for section in sections for name in get_args(section.model_fields["name"].annotation)]
    assert set(allowed) <= set(names(kind)) and names(kind)
    for name in names(kind):
        part = find_part(kind, name)
        assert callable(resolved(part.build)) and part.source is None
        assert set(part.facts) <= set(FACTS[kind])


def test_the_catalogue_costs_no_torch():
    code = "import sys, fsg.config; print([m for m in ('torch', 'numpy', 'ray', 'optuna') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_guest_is_chosen_by_name_and_typed_like_a_part_of_fsg(door):
    door("model", Wide, lambda *_: None)
    config = parse_trial({"model": {"name": "wide", "width": 16}})
    assert config.model == Wide(width=16) and parse_trial({"model": "wide"}).model == Wide()
    with pytest.raises(ConfigError, match=r'unknown key "model.widht". Did you mean "model.width"'):
        parse_trial({"model": {"name": "wide", "widht": 16}})
    with pytest.raises(ConfigError, match=r'"model.width" is \'x\''):
        parse_trial({"model": {"name": "wide", "width": "x"}})
    with pytest.raises(ConfigError, match=r'"model" is \'wyde\'.*Did you mean "wide"'):
        parse_trial({"model": "wyde"})


def test_a_guest_that_leaves_is_unknown_again_and_the_rest_stays(door):
    before = TrialConfig().identity()
    door("gradient", Wide, lambda *_: None)
    assert TrialConfig().identity() == before, "a part that is not named changes no key"
    forget("guest.py")
    with pytest.raises(ConfigError, match=r"allowed: ste, ema"):
        parse_trial({"gradient": "wide"})
    assert parse_trial({"gradient": "fsg"}).gradient == Fsg()


@pytest.mark.parametrize("kind", SECTIONS)
def test_every_section_takes_a_guest(door, kind):
    base = {"data": DataSection, "optimizer": OptimizerSection}.get(kind, Section)

    class Guest(base):
        name: Literal["wide"] = "wide"
        width: int = 8

    door(kind, Guest, lambda *_: None)
    assert getattr(parse_trial({kind: {"name": "wide", "width": 3}}), kind).width == 3
    assert parse_trial({}).identity() == TrialConfig().identity()


def test_options_that_differ_tell_two_guests_apart_and_defaults_do_not(door):
    door("model", Wide, lambda *_: None)
    one, same, other = (parse_trial({"model": {"name": "wide", **over}}) for over in ({}, {"width": 8}, {"width": 9}))
    assert one.identity() == same.identity() != other.identity()


def test_a_class_of_a_guest_may_be_named_as_one_of_fsg(door):
    class Ema(Section):
        name: Literal["my_ema"] = "my_ema"
        beta: float = 0.25

    door("gradient", Ema, lambda *_: None)
    identity = parse_trial({"gradient": "my_ema"}).identity()
    assert identity["gradient"] == {"name": "my_ema"}
    assert parse_trial({"gradient": "ema"}).identity()["gradient"] == {"name": "ema", "beta": 0.5}


def test_a_taken_name_is_refused_with_the_line_of_both(door):
    class Ste(Section):
        name: Literal["ste"] = "ste"

    with pytest.raises(
        ConfigError, match=r'test_parts.py:\d+: the gradient "ste" is registered already, by fsg itself'
    ):
        door("gradient", Ste, lambda *_: None)
    door("model", Wide, lambda *_: None)
    taken = r'the model "wide" is registered already, at .*test_parts.py:\d+'
    with registered_by(Source("other.py", "1" * 16, "file")), pytest.raises(ConfigError, match=taken):
        door("model", Wide, lambda *_: None)


def test_what_is_no_part_is_refused_and_nothing_of_it_stays(door):
    class Thawed(BaseModel):
        name: Literal["thawed"] = "thawed"

    class Nameless(Section):
        width: int = 3

    def refused(*args, **facts):
        with pytest.raises(ConfigError) as caught:
            door(*args, **facts)
        return str(caught.value)

    assert "section Thawed is not frozen" in refused("model", Thawed, print)
    assert 'Nameless has no name; give it name: Literal["..."]' in refused("model", Nameless, print)
    assert 'no kind of part is "modle". Did you mean "model"?' in refused("modle", Wide, print)
    assert 'a model has no fact "flops"' in refused("model", Wide, print, flops=3)
    assert 'no fact "memory_step". Did you mean "memory_steps"?' in refused("gradient", Wide, print, memory_step=3)
    assert "is 3, expected a function" in refused("model", Wide, 3)
    assert "Wide has no lr; derive it from fsg.OptimizerSection" in refused("optimizer", Wide, print)
    assert "has no root, download, batch_size" in refused("data", Wide, print)
    assert "expected a subclass of fsg.Section" in refused("model", dict, print)
    assert not list(guests())


def test_a_part_built_as_something_else_is_named_with_its_line(door):
    for kind, wanted in (("model", "torch.nn.Module"), ("gradient", "GradientEstimator"), ("optimizer", "Optimizer")):
        door(kind, Rated if kind == "optimizer" else Wide, lambda *_: "nothing")
        with pytest.raises(ConfigError, match=rf'test_parts.py:\d+: the {kind} "wide" was built as str, .*{wanted}'):
            Trainer(parse_trial({kind: "wide", "epochs": 1}))
        forget("guest.py")


def test_a_part_of_the_running_program_has_its_text_for_a_digest_and_does_not_leave_it():
    import pickle

    @register("schedule", Wide)
    def halves(config, done, epochs):
        return 0.5

    try:
        config = parse_trial({"schedule": "wide"})
        (source,) = {each.source for each in guests()}
        assert source.how == "session" and config.identity()["plugins"] == {__name__: source.digest}
        with pytest.raises(ConfigError, match=r"known to this program alone.*plugins"):
            pickle.dumps(config)
        assert pickle.loads(pickle.dumps(parse_trial({}))) == parse_trial({})
    finally:
        forget(__name__)


def test_a_script_may_register_before_anything_else_of_fsg_is_there():
    code = (
        "from typing import Literal; import fsg\n"
        "class Own(fsg.Section):\n    name: Literal['own'] = 'own'\n"
        "fsg.register('model', Own, lambda *_: None)\n"
        "print(fsg.TrialConfig.model_validate({'model': 'own'}).model.name, fsg.TrialConfig().model.name)\n"
        "class Taken(fsg.Section):\n    name: Literal['resnet20'] = 'resnet20'\n"
        "fsg.register('model', Taken, lambda *_: None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "own digits_cnn\n"
    assert 'the model "resnet20" is registered already, by fsg itself' in done.stderr


def test_a_guests_schedule_rules_the_rate_after_the_warm_up(door):
    from fsg.train.optim import rate_factor

    class Warm(Section):
        name: Literal["warm"] = "warm"
        warmup_epochs: int = 1

    door("schedule", Warm, lambda config, done, epochs: 1 - done / epochs)
    config = parse_trial({"schedule": "warm", "epochs": 3})
    assert [rate_factor(config.schedule, epoch, 3) for epoch in range(3)] == [0.5, 1.0, 0.5]


def test_a_workers_data_set_of_a_guest_names_a_folder_only_where_its_study_does(door, tmp_path):
    from fsg.search.searcher import with_absolute_paths

    class Guest(DataSection):
        name: Literal["wide"] = "wide"

    door("data", Guest, lambda *_: None)
    made, read = ({"data": {"name": "wide"} | over} for over in ({}, {"root": str(tmp_path)}))
    assert with_absolute_paths(parse_trial(made)).data.root is None
    assert with_absolute_paths(parse_trial(read)).data.root == str(tmp_path)
    assert with_absolute_paths(parse_trial({})).data.root.endswith("/data")


def test_a_guests_metric_is_computed_and_can_be_asked_for(door):
    from fsg.metrics import metrics_of

    assert "val_majority" not in metrics_of(TrialConfig())
    door("metric", "majority", lambda logits, labels: (logits.argmax(1) == labels.mode().values).float().mean())
    config = TrialConfig.model_validate(
        {
            "gradient": "ste",
            "epochs": 1,
            "data": {"name": "digits"},
            "plugins": [{"file": "guest.py", "sha256": "0" * 16}],
        }
    )
    assert {"val_majority", "test_majority"} <= metrics_of(config)
    (result,) = Trainer(config)
    assert 0 < result.metrics["val_majority"] < 1 and 0 < result.metrics["test_majority"] < 1
    other = config.model_copy(update={"plugins": ()})
    assert "val_majority" not in next(iter(Trainer(other))).metrics, "another study's metric was computed"
