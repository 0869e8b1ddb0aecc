"""The small specifications of these tests."""

from small_files import ablation, ablation_text, files, sweep, sweep_text  # noqa: F401
