"""F(x), whose derivative a surrogate curve is: written from the papers' equations, apart from the curves themselves."""

import math

import torch

from fsg.catalogue.surrogates import Arctan, BiReal, Clipped, Ede, Fda, Rbnn, Reste, Swish, Tanh


def steepness(shape, p):
    return shape.t_first ** (1 - p) * shape.t_last**p


def smooth(shape, x, p):
    """F(x) at the share p of training."""
    match shape:
        case Clipped():
            # torch.clamp has no gradient at its ends, and this curve has.
            return torch.where(x.abs() <= shape.clip, x, shape.clip * torch.sign(x))
        case BiReal():
            inner = torch.where(x < 0, 2 * x + x * x, 2 * x - x * x)
            return torch.where(x.abs() < 1, inner, torch.sign(x))
        case Swish():
            bx = shape.beta * x
            return 2 * torch.sigmoid(bx) * (1 + bx * (1 - torch.sigmoid(bx))) - 1
        case Ede():
            t = steepness(shape, p)
            return max(1 / t, 1) * torch.tanh(t * x)
        case Rbnn():
            t = steepness(shape, p)
            inner = -torch.sign(x) * t * t * x * x / 2 + math.sqrt(2) * t * x
            return max(1 / t, 1) * torch.where(x.abs() < math.sqrt(2) / t, inner, torch.sign(x))
        case Reste():
            o = 1 + (shape.o_last - 1) * (1 - math.cos(p * math.pi / 2))
            power = torch.sign(x) * x.abs().clamp(shape.inner, shape.outer) ** (1 / o)
            return torch.where(x.abs() < shape.inner, x * shape.inner ** (1 / o) / shape.inner, power)
        case Fda():
            n = shape.n_first + int(p * (shape.n_last - shape.n_first))
            x = torch.where(x.abs() <= 1, x, torch.sign(x))
            return 4 / math.pi * sum(torch.sin((2 * i + 1) * shape.omega * x) / (2 * i + 1) for i in range(n + 1))
        case Tanh():
            return torch.tanh(steepness(shape, p) * x)
        case Arctan():
            return 2 / math.pi * torch.arctan(steepness(shape, p) * x)


def by_smooth(x, shape, p):
    """sign(x) whose derivative autograd takes from F."""
    smoothed = smooth(shape, x, p)
    return smoothed + (torch.where(x >= 0, 1.0, -1.0).to(x.dtype) - smoothed).detach()
