"""Statistics of paired seeds: pure functions of numpy arrays, needing numpy and scipy alone.

``paired`` judges one arm against another, ``factorial`` a 2^k design, ``curves`` learning curves; ``power`` says how
many seeds an effect needs, ``sequential`` adds seeds until an interval is narrow enough. Proof: ``tests/stats``; error
rates by simulation: ``benchmarks/calibration.py``.
"""
