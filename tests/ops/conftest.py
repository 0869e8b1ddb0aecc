"""Triton's own functions are decorated when it is imported: on a machine without a GPU its interpreter is chosen before."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
