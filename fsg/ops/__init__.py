"""Numeric primitives: a reference that defines each, beside its fast twins."""
