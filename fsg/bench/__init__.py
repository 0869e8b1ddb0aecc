"""Benchmarks: ratios measured side by side in one run, with machine, versions and date.

Each module has ``run() -> list[Measurement]``; ``fsg bench`` prints them. Timings are never tests.
"""
