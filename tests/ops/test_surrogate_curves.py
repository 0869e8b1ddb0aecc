"""Every surrogate curve: closed forms at chosen points, its area, its end, and the function whose derivative it is."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from smooth_curves import smooth, steepness

from fsg.catalogue.surrogates import Arctan, BiReal, Clipped, Ede, Fda, Rbnn, Reste, Swish, Tanh
from fsg.ops.curves import curve_of

ALL = [Clipped(), BiReal(), Swish(), Ede(), Rbnn(), Reste(), Fda(), Tanh(), Arctan()]
OTHERS = [
    Clipped(clip=0.3),
    Swish(beta=1.0),
    Ede(t_first=0.001),
    Reste(o_last=1.0),
    Reste(inner=0.02, outer=0.7),
    Fda(omega=2.0),
]
each = pytest.mark.parametrize("shape", ALL + OTHERS, ids=repr)


def at(shape, x, progress=0.0, dtype=torch.float64):
    x = torch.as_tensor(x, dtype=dtype)
    return curve_of(shape)(x, torch.tensor(progress, dtype=dtype))


def breaks(shape, p):
    """Where a curve jumps or has a corner, and a finite difference straddles it."""
    match shape:
        case Clipped():
            return [shape.clip]
        case Rbnn():
            return [0.0, math.sqrt(2) / steepness(shape, p)]
        case Reste():
            return [shape.inner, shape.outer]
        case BiReal():
            return [0.0, 1.0]
    return [1.0]


@each
@pytest.mark.parametrize("progress", [0.0, 0.37, 0.999])
def test_a_curve_is_the_derivative_of_its_smooth_function(shape, progress):
    x = torch.linspace(-2.2, 2.2, 4001, dtype=torch.float64) + 1e-5
    step = 1e-7
    for place in breaks(shape, progress):
        x = x[((x - place).abs() > 2 * step) & ((x + place).abs() > 2 * step)]
    difference = (smooth(shape, x + step, progress) - smooth(shape, x - step, progress)) / (2 * step)
    torch.testing.assert_close(at(shape, x, progress), difference, rtol=1e-5, atol=1e-6)


@each
@pytest.mark.parametrize("progress", [0.0, 0.37, 0.999])
def test_a_curves_area_is_how_far_its_smooth_function_rises(shape, progress):
    far = 5e4 if isinstance(shape, Arctan) else 200.0
    points = [*breaks(shape, progress), 0.01, 0.1, 1.0, 10.0]
    edges = sorted({0.0, far, *(p for p in points if p < far)})
    pieces = [quad(lambda x: at(shape, x, progress).item(), a, b, limit=500)[0] for a, b in itertools.pairwise(edges)]
    rise = 2 * smooth(shape, torch.tensor(far, dtype=torch.float64), progress).item()
    assert 2 * sum(pieces) == pytest.approx(rise, rel=1e-5)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [BiReal(), Swish(), Tanh(), Arctan()], ids=repr)
def test_a_curve_that_keeps_the_area_of_a_sign_has_two(shape, progress):
    far = torch.tensor(1e9, dtype=torch.float64)
    assert 2 * smooth(shape, far, progress).item() == pytest.approx(2.0)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_curve_is_even_finite_and_of_its_arguments_dtype(shape, dtype):
    x = torch.tensor([0.0, 1e-30, 1e-8, 0.05, 0.1, 0.7, 1.0, 1.5, 30.0, 1e4, 1e30], dtype=dtype)
    for progress in (0.0, 0.5, 1.0):
        found = at(shape, x, progress, dtype)
        assert found.dtype == dtype and found.isfinite().all()
        assert torch.equal(found, at(shape, -x, progress, dtype))


@pytest.mark.parametrize(
    ("shape", "progress", "x", "expected"),
    [
        (Clipped(), 0, [-1.01, -1, 0, 0.5, 1, 1.01], [0, 1, 1, 1, 1, 0]),
        (BiReal(), 0, [-1, -0.25, 0, 0.5, 2], [0, 1.5, 2, 1, 0]),
        (Swish(beta=5.0), 0, [0], [5]),  # beta
        (Ede(), 0, [0, 10], [1, math.cosh(1) ** -2]),  # t = 0.1, k = 10: nearly the identity
        (Ede(), 0.5, [0, 1], [1, math.cosh(1) ** -2]),  # t = 1
        (Ede(), 1, [0, 0.1], [10, 10 * math.cosh(1) ** -2]),  # t = 10, k = 1
        (Rbnn(), 0, [0, 100], [math.sqrt(2), math.sqrt(2) - 1]),  # t = 0.01, k = 100
        (Rbnn(), 1, [0, 0.1, 0.15], [10 * math.sqrt(2), 10 * math.sqrt(2) - 10, 0]),
        (Reste(), 0, [0, 0.05, 1.5, 1.51], [1, 1, 1, 0]),  # o = 1: the clipped identity
        (Reste(), 1, [0, 0.1, 0.125, 1, 1.51], [10 ** (2 / 3), 10 ** (2 / 3), 4 / 3, 1 / 3, 0]),  # o = 3
        (Fda(), 0, [0, 1.01], [4 * 0.1 / math.pi * 10, 0]),
        (Fda(), 1, [0], [4 * 0.1 / math.pi * 19]),
        (Tanh(), 1, [0, 0.1], [10, 10 * math.cosh(1) ** -2]),
        (Arctan(), 0, [0, 1], [2 / math.pi, 1 / math.pi]),
        (Arctan(), 1, [0], [20 / math.pi]),
    ],
    ids=str,
)  # fmt: skip
def test_a_curve_at_chosen_points(shape, progress, x, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(at(shape, x, float(progress)), expected)


@pytest.mark.parametrize("shape", [Ede(), Rbnn(), Tanh(), Arctan()], ids=repr)
def test_an_annealed_curve_grows_steeper_at_zero_by_equal_factors(shape):
    # k t = max(t, 1) for ede and rbnn: they grow from where t passes 1.
    heights = [at(shape, 0.0, p).item() for p in (0.8, 0.9, 1.0)]
    assert heights[1] / heights[0] == pytest.approx(heights[2] / heights[1])
    assert heights[2] / heights[1] == pytest.approx((shape.t_last / shape.t_first) ** 0.1)


def test_bireal_is_rbnns_curve_where_t_is_the_root_of_two():
    x = torch.linspace(-1.5, 1.5, 99, dtype=torch.float64)
    rbnn = at(Rbnn(t_first=math.sqrt(2), t_last=math.sqrt(2)), x)
    torch.testing.assert_close(at(BiReal(), x), rbnn)


def test_swish_is_larqs_formula_where_that_does_not_overflow():
    x = torch.linspace(-3, 3, 301, dtype=torch.float64)
    bx = 5.0 * x
    torch.testing.assert_close(at(Swish(), x), 5.0 * (2 - bx * torch.tanh(bx * 0.5)) / (1 + torch.cosh(bx)))


def test_fda_in_closed_form_is_the_published_sum():
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    for progress in (0.0, 0.5, 0.95):
        n = 9 + int(progress * 9)
        total = 4 * 0.1 / math.pi * sum(torch.cos((2 * i + 1) * 0.1 * x) for i in range(n + 1))
        torch.testing.assert_close(at(Fda(), x, progress), total)
