"""fsg's own parts, every name that is registered, and the examples' pass the contracts that a guest's part must pass."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from fsg import testing
from fsg.catalogue.binarizers import ReCU, Xnor
from fsg.catalogue.gradients import Fsg, MetaQuant, Scalar
from fsg.catalogue.surrogates import Surrogate
from fsg.parts import find_part, names
from fsg.study.domains import KINDS

EXAMPLES = Path(__file__).parents[2] / "examples"
NEW_ESTIMATORS = Path(__file__).parents[2] / "ablations" / "designs.py"
DOMAINS = {
    "uniform": [-0.5, 0.25],
    "loguniform": [1e-4, 0.1],
    "quniform": [0.0, 0.9, 0.1],
    "randint": [-3, 8],
    "lograndint": [1, 64],
    "choice": ["a", 2, 1.5, True, None],
    "fixed": "adam",
    "expression": "0.1 * data.batch_size / 128",
}
SWITCHES = {"switches": ["hgs", "fsg", "lre"]}
DESIGNS = [
    {"kind": "leave_one_out", **SWITCHES},
    {"kind": "add_one_in", **SWITCHES},
    {"kind": "full_factorial", **SWITCHES},
    {"kind": "fractional_factorial", **SWITCHES, "generators": ["lre = hgs*fsg"]},
    {"kind": "dose_response", "path": "gradient.length", "values": [1, 2, 10]},
    {
        "kind": "path",
        "steps": [
            {"ste": {"gradient": "ste"}},
            {"fast": {"gradient": {"name": "fsg", "hgs": False}}},
            {"full": {"gradient": {"hgs": True}}},
        ],
    },
    {"kind": "cross", "models": ["digits_cnn", "resnet20"], "of": {"kind": "leave_one_out", **SWITCHES}},
]
# Beside each name with its defaults: options that lead elsewhere.
VARIANTS = [Scalar(gain="locked"), MetaQuant(gain="free"), Fsg(slow_net="fir", hgs=False, lre_size=3)]
CURVES = [Surrogate(shape=shape) for shape in ("bireal", "swish", "ede", "rbnn", "reste", "fda", "tanh", "arctan")]
BINARIZERS = [Xnor(standardize=True), Xnor(standardize=True, scale="power_of_two"), ReCU(tau_first=0.6, tau_last=0.9)]
EDE = {"name": "sign", "surrogate": "ede"}
PROTOCOLS = [
    {"name": "digits_cnn", "activations": EDE, "float_layers": ["first", "last"]},
    {"name": "resnet20", "activations": EDE, "float_layers": ["first", "last", "shortcuts"]},
]
# Their code is that of resnet20 or digits_cnn, at up to ten times the cost: they are not trained here.
DEEP = {"resnet32", "resnet44", "resnet56", "resnet110", "resnet18", "vgg_small"}


def inherits(contract, configs, **attributes):
    """A test class for each part, in this module, as a guest would write one."""
    for number, config in enumerate(configs):
        title = f"Test{contract.__name__.removesuffix('Contract')}_{config if isinstance(config, str) else number}"
        globals()[title] = type(title, (contract,), {"config": config, "__module__": __name__, **attributes})


inherits(testing.EstimatorContract, [*names("gradient"), *VARIANTS, *CURVES])
inherits(
    testing.EstimatorContract,
    ["fsg_on_curve", "fsg_near_flips", "scales", "learnt_curve", "fsg_ahead", "fsg_taught"],
    plugins=NEW_ESTIMATORS,
)
inherits(testing.QuantizerContract, [*names("quantizer"), {"name": "dorefa", "bits": 3}, *BINARIZERS])
inherits(testing.ModelContract, [n for n in names("model") if n not in DEEP])
inherits(testing.ModelContract, sorted(DEEP), test_a_trial_with_it_resumes_to_the_bit=None)
inherits(testing.ModelContract, [{"name": "digits_cnn", "activations": "sign"}, *PROTOCOLS])
REFINED = {"name": "refined", "from": "earlier#ste", "norms": [3.0, 1.0, 2.0, 0.5]}
inherits(testing.ScheduleContract, [n for n in names("schedule") if n != "refined"])
inherits(
    testing.ScheduleContract,
    [REFINED, REFINED | {"norm": "l1", "smoothing": 0.0}, {"name": "cosine", "warmup_epochs": 3}],
)
# Bop steps weights of one bit alone; vSGD looks at ten gradients before it moves anything.
inherits(testing.OptimizerContract, ["bop"], trial={"quantizer": "bwn"})
inherits(testing.OptimizerContract, ["vsgd_schaul"], steps=14)
OTHERS = [n for n in names("optimizer") if n not in ("bop", "vsgd_schaul")]
inherits(testing.OptimizerContract, [*OTHERS, {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01}])
inherits(testing.DataContract, ["synthetic"])
inherits(testing.SamplerContract, [name for name in names("sampler") if name != "auto"])
inherits(testing.SchedulerContract, names("scheduler"))
inherits(testing.BackendContract, names("backend"))
inherits(testing.DesignContract, DESIGNS)
inherits(testing.DomainContract, [{kind: arguments} for kind, arguments in DOMAINS.items()])


class TestDigits(testing.DataContract):
    config = "digits"


class TestImageFolder(testing.DataContract):
    @classmethod
    def setup_class(cls):
        cls.folder, rng = TemporaryDirectory(), np.random.default_rng(0)
        for label in ("cats", "dogs"):
            (Path(cls.folder.name) / label).mkdir()
            for number in range(30):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(Path(cls.folder.name) / label / f"{number}.png")
        cls.config = {"name": "image_folder", "root": cls.folder.name, "image_size": 8, "batch_size": 8}

    @classmethod
    def teardown_class(cls):
        cls.folder.cleanup()


class TestNearness(testing.EstimatorContract):
    config = {"name": "nearness", "scale": 0.3}
    plugins = EXAMPLES / "own_estimator.py"
    trial = {"quantizer": "bwn"}


class TestTwoConvolutions(testing.ModelContract):
    config = "two_convolutions"
    plugins = EXAMPLES / "own_network.py"


class TestStripes(testing.DataContract):
    config = "stripes"
    plugins = EXAMPLES / "own_data.py"


class TestWorstClassError(testing.MetricContract):
    config = "worst_class_error"
    plugins = EXAMPLES / "own_data.py"


class TestTernary(testing.QuantizerContract):
    config = "ternary"
    plugins = EXAMPLES / "own_quantizer.py"


class TestSignMomentum(testing.OptimizerContract):
    config = "sign_momentum"
    plugins = EXAMPLES / "own_training.py"


class TestLateDrop(testing.ScheduleContract):
    config = {"name": "late_drop", "warmup_epochs": 2}
    plugins = EXAMPLES / "own_training.py"


class TestPowersOfTwo(testing.DomainContract):
    config = {"powers_of_two": [8, 64]}
    plugins = EXAMPLES / "own_domain.py"


class TestHalton(testing.SamplerContract):
    config = {"name": "halton", "scramble": False}
    plugins = EXAMPLES / "own_search.py"


class TestBar(testing.SchedulerContract):
    config = {"name": "bar", "below": 0.2, "at": 2}
    plugins = EXAMPLES / "own_search.py"


class TestPairs(testing.DesignContract):
    config = {"kind": "pairs", "changes": {"gradient.lre": False, "gradient.length": 1, "gradient.beta": 0.25}}
    plugins = EXAMPLES / "own_design.py"


def test_every_design_is_tried():
    assert {design["kind"] for design in DESIGNS} == {
        n for n in names("design") if find_part("design", n).source is None
    }


def test_every_kind_of_domain_is_tried():
    assert set(DOMAINS) == {name for name, kind in KINDS.items() if kind.__module__.startswith("fsg.")}


def test_every_data_set_is_tried_but_those_that_are_downloaded():
    """CIFAR's is in tests/data, on files in its format."""
    downloaded = {name for name in names("data") if "to_download" in find_part("data", name).facts}
    assert downloaded == {"cifar10", "cifar100"}
    assert set(names("data")) - downloaded == {"digits", "synthetic", "image_folder"}
