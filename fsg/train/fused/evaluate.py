"""Evaluation of a pack: as ``fsg/train/evaluate.py``, over several networks side by side, of the same images.

Letters: K networks, B images, N weights. Large images gain nothing from it: there each trial is evaluated by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fsg.data import Images
from fsg.train.evaluate import Score
from fsg.train.fused.network import norms_of
from fsg.train.fused.step import FusedStep
from fsg.train.loop import EVALUATION_BATCH, LAST, Trainer

SIDE_BY_SIDE = 6  # the best of 2, 4, 6 and 12 for digits_cnn: more leave the processor's caches
MOST_PIXELS = 2**18  # of the images that BatchNorm is read with

Scores = Mapping[str, Mapping[str, Score]]


@torch.no_grad()
def scores_of(step: FusedStep, trainers: Sequence[Trainer]) -> list[Scores] | None:
    """What ``Trainer.end_epoch`` takes as scores, for each; None where each is to be evaluated by itself."""
    first = trainers[0]
    balanced = first.balanced.images
    if len(balanced) * balanced[0, 0].numel() > MOST_PIXELS:
        return None
    left = [trainer.config.epochs - trainer.epoch - 1 for trainer in trainers]
    read = {"plain": step.latent} | ({"averaged": step.averaged} if step.averaged is not None else {})
    asked = {"plain": any(n < LAST for n in left), "averaged": 0 in left}
    found: list[dict[str, dict[str, Score]]] = [{} for _ in trainers]
    for name, weights in read.items():
        parts = {"validation": first.data.validation} | ({"test": first.data.test} if asked[name] else {})
        for start in range(0, len(trainers), SIDE_BY_SIDE):
            slots = list(range(start, min(start + SIDE_BY_SIDE, len(trainers))))
            rows = torch.tensor(slots if len(slots) > 1 else slots * 2, device=weights.device)
            scored = _scored(step, weights, rows, parts, trainers, guests=name == "plain")
            for k, own in zip(slots, scored, strict=False):
                last = left[k] < LAST if name == "plain" else left[k] == 0
                found[k][name] = {part: score for part, score in own.items() if last or part == "validation"}
    return list(found)


def _scored(
    step: FusedStep,
    weights: Tensor,
    rows: Tensor,
    parts: Mapping[str, Images],
    trainers: Sequence[Trainer],
    guests: bool,
) -> list[dict[str, Score]]:
    """The scores of the trials ``rows``, with their rows of ``weights``, (K, N), quantised."""
    first, network = trainers[0], step.network
    statistics = {name: value[rows].clone() for name, value in step.running.items()}
    step.put_rows(weights[rows], rows, statistics)
    if first.config.evaluate.batchnorm == "reestimated":
        norms = norms_of(network)
        momenta = [norm.momentum for norm in norms]
        for name, value in statistics.items():
            value.fill_(1.0 if name.endswith("running_var") else 0.0)  # times 0: they may have been infinite
        for norm in norms:
            norm.momentum = 1.0
        network.train()
        network(_for_each(first, first.balanced.images, len(rows)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    network.eval()
    found: list[dict[str, Score]] = [{} for _ in rows]
    for part, images in parts.items():
        for k, score in enumerate(_of_part(step, images, rows, trainers, guests)):
            found[k][part] = score
    network.train()
    return found


def _of_part(step: FusedStep, images: Images, rows: Tensor, trainers: Sequence[Trainer], guests: bool) -> list[Score]:
    first, members = trainers[0], len(rows)
    loss = torch.zeros(members, dtype=torch.float64, device=rows.device)
    correct = torch.zeros(members, dtype=torch.int64, device=rows.device)
    metrics = first.guest_metrics if guests else {}
    kept = []
    for start in range(0, len(images), EVALUATION_BATCH):
        labels = images.labels[start : start + EVALUATION_BATCH]
        inputs = _for_each(first, images.images[start : start + EVALUATION_BATCH], members)
        logits = step.network(inputs).view(len(labels), members, -1).transpose(0, 1).contiguous()
        each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(members), reduction="none")
        loss += each.view(members, -1).sum(1).double()
        correct += (logits.argmax(2) == labels).sum(1)
        if metrics:
            kept.append(logits)
    whole = torch.cat(kept, dim=1) if kept else None
    scores = []
    for k, (nats, right) in enumerate(zip(loss.tolist(), correct.tolist(), strict=True)):
        others = (
            {n: float(metric(whole[k], images.labels)) for n, metric in metrics.items()} if whole is not None else {}
        )
        scores.append(Score(nats / len(images), 100.0 * right / len(images), others))
    return scores


def _for_each(trainer: Trainer, images: Tensor, members: int) -> Tensor:
    """The inputs of these images for every network: (B, K C, H, W)."""
    return trainer.inputs(images).repeat(1, members, 1, 1)
