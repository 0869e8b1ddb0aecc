"""Lanes: one or two 64-byte vector registers (16 or 32 float32) as a value that numba kernels compute with.

LLVM does not vectorise loops over arrays that might overlap, so the kernels say what a register holds: ``load`` and
``store`` move one, ``+ - * /`` work on all its lanes (a scalar operand is spread over them), and the functions below are
polynomials without a branch. Narrower machines get two or four registers for each; nothing here is for one processor.
A chain of dependent polynomial steps leaves a processor waiting; two registers at once are two chains side by side.

exp2: x = n + f, |f| <= 1/2, 2^f a polynomial, n added to the exponent bits. Relative error 1e-7 (float32), 2e-16 (float64).
softplus: max(p, 0) + log1p(e), e = exp(-|p|), log1p(e) = e times a polynomial: small e keep their digits.
reciprocal: the bits of x taken from a constant give 1/x to 5 %, a cubic step and a quadratic one the rest: 6 cheap
operations, 3 cycles, where a division takes 10. Relative errors of these two: 2e-7 (float32), 4e-15 (float64).
Imported by the kernels alone, so numba loads when the first is asked for. Proof: tests/ops/test_slow_scan_cpu.py.
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
_LOG1P = {  # log1p(e) / e, 0 <= e <= 1
    bits: _fit(lambda e: np.log1p(e) / e, 1e-9, 1.0, degree) for bits, degree in ((32, 9), (64, 19))
}
_RECIPROCAL = {32: 0x7EF311C7, 64: 0x7FDE623822FC16E6}  # less the bits of x: the bits of 1/x, to 5 %
_MANTISSA = {32: 23, 64: 52}
LOWEST = {32: -126.0, 64: -1022.0}


class Lanes(types.Type):
    """The numba type of one vector of ``dtype``, in as many registers."""

    def __init__(self, dtype: Any, registers: int) -> None:
        self.dtype = dtype
        self.width = registers * BITS // dtype.bitwidth
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


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any, lanes: Lanes, unit: int) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.mul(index, ir.Constant(index.type, unit))
    return builder.bitcast(builder.gep(data, [first]), context.get_value_type(lanes).as_pointer())


@intrinsic
def outlined(typingctx: Any) -> Any:
    """Called in a kernel: its caller gets a call to it, not a copy; halves the time to compile."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


def vectors_of(registers: int) -> tuple[Any, Any, Any]:
    """``load``, ``load_from`` and ``zero`` for vectors of 1 or 2 registers.

    ``load(array, i)`` is ``array[i * width : (i + 1) * width]`` of a contiguous 1-d array, ``load_from(array, i)`` is
    ``array[i : i + width]``, ``zero(array)`` a vector of zeros of the array's type.
    """

    def reader(whole: bool) -> Any:
        @intrinsic
        def read(typingctx: Any, array: Any, index: Any) -> Any:
            lanes = Lanes(array.dtype, registers)

            def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
                pointer = _address(context, builder, sig.args[0], args[0], args[1], lanes, lanes.width if whole else 1)
                return builder.load(pointer, align=lanes.dtype.bitwidth // 8)

            return lanes(array, types.intp), generate

        return read

    @intrinsic
    def zero(typingctx: Any, array: Any) -> Any:
        lanes = Lanes(array.dtype, registers)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return ir.Constant(context.get_value_type(lanes), [0.0] * lanes.width)

        return lanes(array), generate

    return reader(whole=True), reader(whole=False), zero


load, load_from, zero = vectors_of(1)


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index * width : (index + 1) * width] = value."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], value, value.width)
        builder.store(args[2], pointer, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def add(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index * width : (index + 1) * width] += value."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], value, value.width)
        align = value.dtype.bitwidth // 8
        total = builder.fadd(builder.load(pointer, align=align), args[2], flags=_FLAGS)
        builder.store(total, pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def store_from(typingctx: Any, array: Any, start: Any, value: Any) -> Any:
    """array[start : start + width] = value."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _address(context, builder, sig.args[0], args[0], args[1], value, 1)
        builder.store(args[2], pointer, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), generate


@intrinsic
def transpose(typingctx: Any, source: Any, first: Any, step: Any, target: Any, to: Any, to_step: Any) -> Any:
    """As many vectors of ``source`` (first, first + step, ..) as a vector has lanes, transposed into ``target``."""
    lanes = Lanes(source.dtype, 1)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width, align = lanes.width, lanes.dtype.bitwidth // 8

        def at(i: int, which: int) -> Any:
            index = builder.add(args[which + 1], builder.mul(args[which + 2], ir.Constant(args[which + 2].type, i)))
            return _address(context, builder, sig.args[which], args[which], index, lanes, width)

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
    """``array[index]``, without numba's look at the sign of the index."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


def _bits(vector: Any) -> int:
    return 32 if isinstance(vector.type.element, ir.FloatType) else 64


def _constant(vector: Any, value: float) -> Any:
    return ir.Constant(vector.type, [value] * vector.type.count)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, fused where the processor can (elsewhere llvm.fma would call a library for every lane)."""
    if not _FUSES:
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{c.type.count}f{_bits(c)}"
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


def _exp2(builder: Any, factor: Any, x: Any, rest: Any = None) -> Any:
    """2^((factor + rest) x), the product unrounded where the machine fuses; it must lie within the normal exponents."""
    bits, mantissa = _bits(x), _MANTISSA[_bits(x)]
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


def _exp(builder: Any, x: Any) -> Any:
    """e^x: log2(e) in two parts, or a large x would carry the rounding of the constant into every digit."""
    bits = _bits(x)
    number = np.float32 if bits == 32 else np.float64
    high = float(number(LOG2E))
    low = math.fsum([1.4426950408889634, -high]) if bits == 32 else 2.0355273740931033e-17
    return _exp2(builder, _constant(x, high), x, _constant(x, low))


def _reciprocal(builder: Any, x: Any) -> Any:
    """1 / x for x from 2^-125 to 2^125."""
    bits = _bits(x)
    integers = ir.VectorType(ir.IntType(bits), x.type.count)
    magic = ir.Constant(integers, [_RECIPROCAL[bits]] * x.type.count)
    y = builder.bitcast(builder.sub(magic, builder.bitcast(x, integers)), x.type)
    negative, one = builder.fneg(x), _constant(x, 1.0)
    for _ in range(1 if bits == 32 else 2):
        error = _fma(builder, negative, y, one)
        y = _fma(builder, y, _fma(builder, error, error, error), y)
    return _fma(builder, y, _fma(builder, negative, y, one), y)


@intrinsic
def exp2_of_product(typingctx: Any, rate: Any, x: Any, limit: Any) -> Any:
    """2^(rate min(x, limit)) for scalar ``rate`` or lanes; rate * limit is the lowest exponent that a normal number has."""
    rest = [a if isinstance(a, Lanes) else x.dtype for a in (rate, limit)]

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x = args[1]
        rate, limit = (a if a.type == x.type else _spread(builder, a, x.type.count) for a in (args[0], args[2]))
        held = builder.select(builder.fcmp_ordered(">", x, limit), limit, x)
        return _exp2(builder, rate, held)

    return x(rest[0], x, rest[1]), generate


@intrinsic
def exp_below_zero(typingctx: Any, x: Any) -> Any:
    """e^x for x <= 0, held within the normal numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bound = LOWEST[_bits(args[0])] * LN2 * (1 - 1e-6)
        return _exp(builder, _clamp(builder, args[0], bound, lower=True))

    return x(x), generate


@intrinsic
def sigmoid(typingctx: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)), held within the normal numbers."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bound = (LOWEST[_bits(args[0])] + 2) * LN2
        held = _clamp(builder, builder.fneg(args[0]), bound, lower=True)
        e = _exp(builder, _clamp(builder, held, -bound, lower=False))
        return _reciprocal(builder, builder.fadd(e, _constant(e, 1.0)))

    return x(x), generate


@intrinsic
def reciprocal(typingctx: Any, x: Any) -> Any:
    """1 / x for x from 2^-125 to 2^125."""
    return x(x), lambda context, builder, sig, args: _reciprocal(builder, args[0])


@intrinsic
def log1p_ratio(typingctx: Any, e: Any) -> Any:
    """log1p(e) / e for 0 <= e <= 1."""
    return e(e), lambda context, builder, sig, args: _horner(builder, args[0], _LOG1P[_bits(args[0])])


@intrinsic
def where_greater(typingctx: Any, x: Any, bound: Any, yes: Any, no: Any) -> Any:
    """``yes`` (a scalar or lanes) in the lanes where x > bound (a scalar), ``no`` in the others and where x is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, limit, yes, no = (a if a.type == args[0].type else _spread(builder, a, x_width) for a in args)
        return builder.select(builder.fcmp_ordered(">", x, limit), yes, no)

    x_width = x.width
    return x(x, x.dtype, yes if isinstance(yes, Lanes) else x.dtype, x), generate


@intrinsic
def positive(typingctx: Any, x: Any) -> Any:
    """max(x, 0); NaN stays."""
    return x(x), lambda context, builder, sig, args: _clamp(builder, args[0], 0.0, lower=True)


@njit(nogil=True)
def softplus(p):
    """log(1 + exp(p)), and e = exp(-|p|); as torch's: p itself above 20, where e is given as 0."""
    above = positive(p)
    e = exp_below_zero(p - 2.0 * above)
    e = where_greater(p, 20.0, 0.0, e)
    return above + e * log1p_ratio(e), e


@njit(nogil=True)
def softplus_slope(p, e):
    """The derivative of softplus, sigmoid(p), from the e that ``softplus`` gave."""
    inverse = reciprocal(1.0 + e)
    return where_greater(p, 0.0, inverse, e * inverse)
