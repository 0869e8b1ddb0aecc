"""Trained networks as files for elsewhere: packed weights, ONNX, a program of torch.export, and a card that says what they are.

The layout of the bits and what each file needs: ``docs/export.md``.
"""
