import torch

from fsg.train.memory import peak_memory, watch_memory


def test_a_process_on_the_cpu_peaks_at_least_at_what_it_holds():
    device = torch.device("cpu")
    watch_memory(device)
    before, capacity = peak_memory(device, alone=True)
    held = torch.ones(before // 8 + 30_000_000, dtype=torch.float64)  # more than it ever had
    after, _ = peak_memory(device, alone=True)
    assert before < held.nbytes <= after < capacity
