"""Lanes: one 64-byte vector register (16 float32 or 8 float64) as a value that numba kernels compute with.

LLVM does not vectorise loops over arrays that might overlap, so the kernels say what a register holds: ``load`` and
``store`` move one, ``+ - * /`` work on all its lanes (a scalar operand is spread over them), and the functions below are
polynomials without a branch. Narrower machines get two or four registers for each; nothing here is for one processor.

exp2: x = n + f, |f| <= 1/2, 2^f a polynomial, n added to the exponent bits. Relative error 1e-7 (float32), 2e-16 (float64).
softplus: max(p, 0) + log1p(e), e = exp(-|p|), log1p(e) = 2 artanh(e / (2 + e)), a polynomial in the square: small e keep
their digits. Imported by cpu.py alone, so numba loads when the first kernel is asked for. Proof: tests/ops/test_slow_scan_cpu.py.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
import operator
import platform
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from fsg.ops.slow_scan.packing import LN2, LOG2E

BITS = 512
_FLAGS = ("contract", "nsz")  # a * b + c may become one fused operation; nothing is reordered
_INT32 = ir.IntType(32)
_FUSES = platform.machine() in ("aarch64", "arm64") or bool(llvm.get_host_cpu_features().get("fma"))


def _fit(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, degree: int) -> list[float]:
    """Coefficients, constant first, of the polynomial through ``function`` at the Chebyshev nodes of [low, high]."""
    fitted = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return [float(c) for c in fitted.convert(kind=np.polynomial.Polynomial).coef]


# By width of a number: degrees are the smallest whose error vanishes in the rounding.
_EXP2 = {
    # 1 + f q(f): exactly 1 at 0, so a decay near 1 has no bias that thousands of tokens would add up
    32: [1.0, *_fit(lambda f: np.expm1(f * LN2) / f, -0.5, 0.5, 5)],
    64: [LN2**k / math.factorial(k) for k in range(14)],
}
_ARTANH = {  # artanh(s) / s in powers of s^2, s <= 1/3
    32: [1.0, *_fit(lambda q: (np.arctanh(np.sqrt(q)) / np.sqrt(q) - 1) / q, 1e-6, 1 / 9, 4)],
    64: [1 / (2 * k + 1) for k in range(17)],
}
_MANTISSA = {32: 23, 64: 52}
LOWEST = {32: -126.0, 64: -1022.0}


class Lanes(types.Type):
    """The numba type of one vector of ``dtype``."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.width = BITS // dtype.bitwidth
        super().__init__(name=f"Lanes({dtype} x {self.width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Lanes) -> None:
        scalar = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.width))


def _spread(builder: Any, value: Any, width: int) -> Any:
    vector = ir.Constant(ir.VectorType(value.type, width), ir.Undefined)
    vector = builder.insert_element(vector, value, ir.Constant(_INT32, 0))
    zeros = ir.Constant(ir.VectorType(_INT32, width), [0] * width)
    return builder.shuffle_vector(vector, vector, zeros)


def _arithmetic(symbol: Callable[..., Any], instruction: str) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Sequence[Any], kws: Any) -> Any:
            lanes = next((a for a in args if isinstance(a, Lanes)), None)
            if lanes is None or not all(a == lanes or isinstance(a, types.Number) for a in args):
                return None
            return signature(lanes, *(a if a == lanes else lanes.dtype for a in args))

    infer_global(symbol)(Template)

    def lower(context: Any, builder: Any, sig: Any, args: Sequence[Any]) -> Any:
        width = sig.return_type.width
        pair = [v if isinstance(t, Lanes) else _spread(builder, v, width) for v, t in zip(args, sig.args, strict=True)]
        return getattr(builder, instruction)(*pair, flags=_FLAGS)

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(symbol, *kinds)(lower)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: Lanes, unit: int = 0) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.mul(index, ir.Constant(index.type, unit or lanes.width))
    return builder.bitcast(builder.gep(data, [first]), context.get_value_type(lanes).as_pointer())


@intrinsic
def outlined(typingctx: Any) -> Any:
    """Called in a kernel: its caller gets a call to it, not a copy; halves the time to compile."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index * width : (index + 1) * width]`` of a contiguous 1-d array, as one vector."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], lanes)
        return builder.load(pointer, align=lanes.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """The reverse of ``load``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], value)
        builder.store(args[2], pointer, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def load_from(typingctx: Any, array: Any, start: Any) -> Any:
    """``array[start : start + width]``: as ``load``, from any number on."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], lanes, unit=1)
        return builder.load(pointer, align=lanes.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@intrinsic
def store_from(typingctx: Any, array: Any, start: Any, value: Any) -> Any:
    """The reverse of ``load_from``."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], value, unit=1)
        builder.store(args[2], pointer, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def transpose(typingctx: Any, source: Any, first: Any, step: Any, target: Any, to: Any, to_step: Any) -> Any:
    """As many vectors of ``source`` (first, first + step, ..) as a vector has lanes, transposed into ``target``."""
    lanes = Lanes(source.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width, align = lanes.width, lanes.dtype.bitwidth // 8

        def at(i: int, which: int) -> Any:
            index = builder.add(args[which + 1], builder.mul(args[which + 2], ir.Constant(args[which + 2].type, i)))
            return _address(context, builder, sig.args[which], args[which], index, lanes)

        rows = [builder.load(at(i, 0), align=align) for i in range(width)]
        half = 1
        while half < width:  # swap the off-diagonal blocks of every 2 half x 2 half square
            upper = [lane if not lane & half else width + (lane ^ half) for lane in range(width)]
            lower = [lane ^ half if not lane & half else width + lane for lane in range(width)]
            for i in range(width):
                if not i & half:
                    pair = rows[i], rows[i | half]
                    for k, picks in ((i, upper), (i | half, lower)):
                        mask = ir.Constant(ir.VectorType(_INT32, width), picks)
                        rows[k] = builder.shuffle_vector(*pair, mask)
            half *= 2
        for i in range(width):
            builder.store(rows[i], at(i, 3), align=align)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def scalar(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index]`` in every lane, without numba's look at the sign of the index."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _spread(builder, builder.load(builder.gep(data, [args[1]])), lanes.width)

    return lanes(array, types.intp), generate


@intrinsic
def spread(typingctx: Any, array: Any, value: Any) -> Any:
    """The scalar ``value`` in every lane of a vector of ``array``'s type."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _spread(builder, args[1], lanes.width)

    return lanes(array, lanes.dtype), generate


def _constant(vector: Any, value: float) -> Any:
    return ir.Constant(vector.type, [value] * vector.type.count)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, fused where the processor can (elsewhere llvm.fma would call a library for every lane)."""
    if not _FUSES:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{c.type.count}f{BITS // c.type.count}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(c.type, [c.type] * 3), name)
    return builder.call(function, [a, b, c])


def _horner(builder: Any, x: Any, coefficients: Sequence[float]) -> Any:
    value = _constant(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = _fma(builder, value, x, _constant(x, c))
    return value


def _clamp(builder: Any, x: Any, bound: float, lower: bool) -> Any:
    """NaN stays: the comparison is false for it."""
    limit = _constant(x, bound)
    return builder.select(builder.fcmp_ordered("<" if lower else ">", x, limit), limit, x)


def _exp2(builder: Any, factor: Any, x: Any, bits: int, rest: Any = None) -> Any:
    """2^((factor + rest) x), the product unrounded where the machine fuses; it must lie within the normal exponents."""
    mantissa = _MANTISSA[bits]
    integers = ir.VectorType(ir.IntType(bits), x.type.count)
    magic = _constant(x, 1.5 * 2.0**mantissa)  # adding it leaves the nearest integer in the lowest bits
    shifted = _fma(builder, factor, x, magic)
    fraction = _fma(builder, factor, x, builder.fsub(magic, shifted))
    if rest is not None:
        fraction = _fma(builder, rest, x, fraction)
    power = builder.bitcast(_horner(builder, fraction, _EXP2[bits]), integers)
    shift = ir.Constant(integers, [mantissa] * x.type.count)
    exponent = builder.shl(builder.bitcast(shifted, integers), shift)
    return builder.bitcast(builder.add(power, exponent), x.type)


def _exp(builder: Any, x: Any, bits: int) -> Any:
    """e^x: log2(e) in two parts, or a large x would carry the rounding of the constant into every digit."""
    number = np.float32 if bits == 32 else np.float64
    high = float(number(LOG2E))
    low = math.fsum([1.4426950408889634, -high]) if bits == 32 else 2.0355273740931033e-17
    return _exp2(builder, _constant(x, high), x, bits, _constant(x, low))


@intrinsic
def exp2_of_product(typingctx: Any, rate: Any, x: Any, limit: Any) -> Any:
    """2^(rate min(x, limit)), where rate * limit is the lowest exponent that a normal number has."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rate, x, limit = args
        held = builder.select(builder.fcmp_ordered(">", x, limit), limit, x)
        return _exp2(builder, rate, held, sig.args[1].dtype.bitwidth)

    return x(x, x, x), generate


@intrinsic
def exp(typingctx: Any, x: Any) -> Any:
    """e^x, held within the normal numbers and their reciprocals."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = sig.args[0].dtype.bitwidth
        bound = LOWEST[bits] * LN2 * (1 - 1e-6)
        held = _clamp(builder, args[0], bound, lower=True)
        return _exp(builder, _clamp(builder, held, -bound, lower=False), bits)

    return x(x), generate


@intrinsic
def exp_below_zero(typingctx: Any, x: Any) -> Any:
    """e^x for x <= 0, held within the normal numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = sig.args[0].dtype.bitwidth
        return _exp(builder, _clamp(builder, args[0], LOWEST[bits] * LN2 * (1 - 1e-6), lower=True), bits)

    return x(x), generate


@intrinsic
def artanh_ratio(typingctx: Any, square: Any) -> Any:
    """artanh(s) / s from s^2 <= 1/9."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _horner(builder, args[0], _ARTANH[sig.args[0].dtype.bitwidth])

    return square(square), generate


@intrinsic
def where_greater(typingctx: Any, x: Any, bound: Any, yes: Any, no: Any) -> Any:
    """``yes`` in the lanes where x > bound (a scalar), ``no`` in the others and where x is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        limit = _spread(builder, args[1], sig.args[0].width)
        return builder.select(builder.fcmp_ordered(">", args[0], limit), args[2], args[3])

    return x(x, x.dtype, x, x), generate


@njit(nogil=True)
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(x * -1.0))


@njit(nogil=True)
def softplus(p):
    """log(1 + exp(p)) and its derivative sigmoid(p), with one division; as torch's: p itself above 20."""
    zero = p - p
    positive = where_greater(p, 0.0, p, zero)
    e = exp_below_zero(p - 2.0 * positive)
    once, twice = 1.0 + e, 2.0 + e
    inverse = 1.0 / (once * twice)
    s = e * once * inverse
    value = positive + (s + s) * artanh_ratio(s * s)
    slope = where_greater(p, 0.0, twice * inverse, e * twice * inverse)
    return where_greater(p, 20.0, p, value), where_greater(p, 20.0, zero + 1.0, slope)
