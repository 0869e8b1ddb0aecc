"""x_proj on vectors of any width: made for the vectors that a module works on."""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def,call-arg"

from __future__ import annotations

from typing import Any

from numba import njit

from fsg.ops.slow_scan.lanes import outlined, scalar, store


def projection(load: Any, zero: Any) -> Any:
    """``project`` for vectors as ``load`` reads them."""

    @njit(nogil=True)
    def project(packed, sizes, first_c, u, rows):
        """rows = x_proj u: the step and B of every token, C from ``first_c`` on. Four rows at a time share each load of u."""
        outlined()
        length, taps, channels, states = sizes
        stride = taps + 3 * states + 7
        count = 1 + 2 * states
        for t in range(length):
            needed = count if t >= first_c else 1 + states
            r = 0
            while r + 4 <= needed:
                p = taps + 1 + r
                a, b, c, e = zero(u), zero(u), zero(u), zero(u)
                for d in range(channels):
                    value = load(u, d * length + t)
                    a = a + scalar(packed, p) * value
                    b = b + scalar(packed, p + 1) * value
                    c = c + scalar(packed, p + 2) * value
                    e = e + scalar(packed, p + 3) * value
                    p += stride
                store(rows, t * count + r, a)
                store(rows, t * count + r + 1, b)
                store(rows, t * count + r + 2, c)
                store(rows, t * count + r + 3, e)
                r += 4
            while r < needed:
                p = taps + 1 + r
                a = zero(u)
                for d in range(channels):
                    a = a + scalar(packed, p) * load(u, d * length + t)
                    p += stride
                store(rows, t * count + r, a)
                r += 1

    return project
