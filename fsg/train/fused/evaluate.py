"""Evaluation of a pack: as ``fsg/train/evaluate.py``, over several networks side by side, each with images of its own.

Letters: K networks, B images, N weights. Trials with equally many images stand side by side: those of one split, if there are
several. Large images gain nothing from it: there each trial is evaluated by itself.
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
        parts = ["validation", "test"] if asked[name] else ["validation"]
        for slots in _side_by_side(trainers):
            twins = slots if len(slots) > 1 else slots * 2
            scored = _scored(step, weights, twins, parts, [trainers[k] for k in twins], guests=name == "plain")
            for k, own in zip(slots, scored, strict=False):
                last = left[k] < LAST if name == "plain" else left[k] == 0
                found[k][name] = {part: score for part, score in own.items() if last or part == "validation"}
    return list(found)


def _side_by_side(trainers: Sequence[Trainer]) -> list[list[int]]:
    """Who is evaluated together."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for k, trainer in enumerate(trainers):
        parts = (trainer.balanced, trainer.data.validation, trainer.data.test)
        alike.setdefault(tuple(map(len, parts)), []).append(k)
    return [
        slots[start : start + SIDE_BY_SIDE] for slots in alike.values() for start in range(0, len(slots), SIDE_BY_SIDE)
    ]


def _scored(
    step: FusedStep,
    weights: Tensor,
    slots: Sequence[int],
    parts: Sequence[str],
    trainers: Sequence[Trainer],
    guests: bool,
) -> list[dict[str, Score]]:
    """The scores of ``trainers``, which have the rows ``slots`` of ``weights``, (K, N), quantised."""
    network, rows = step.network, torch.tensor(slots, device=weights.device)
    statistics = {name: value[rows].clone() for name, value in step.running.items()}
    step.put_rows(weights[rows], rows, statistics)
    if trainers[0].config.evaluate.batchnorm == "reestimated":
        norms = norms_of(network)
        momenta = [norm.momentum for norm in norms]
        for name, value in statistics.items():
            value.fill_(1.0 if name.endswith("running_var") else 0.0)  # times 0: they may have been infinite
        for norm in norms:
            norm.momentum = 1.0
        network.train()
        network(_inputs(trainers, [trainer.balanced.images for trainer in trainers]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    network.eval()
    found: list[dict[str, Score]] = [{} for _ in slots]
    for part in parts:
        images = [getattr(trainer.data, part) for trainer in trainers]
        for k, score in enumerate(_of_part(step, images, trainers, guests)):
            found[k][part] = score
    network.train()
    return found


def _of_part(step: FusedStep, images: Sequence[Images], trainers: Sequence[Trainer], guests: bool) -> list[Score]:
    """``images``: those of each trainer, equally many."""
    members, count = len(trainers), len(images[0])
    loss = torch.zeros(members, dtype=torch.float64, device=images[0].labels.device)
    correct = torch.zeros(members, dtype=torch.int64, device=loss.device)
    metrics = trainers[0].guest_metrics if guests else {}
    kept = []
    for start in range(0, count, EVALUATION_BATCH):
        some = slice(start, start + EVALUATION_BATCH)
        labels = torch.stack([own.labels[some] for own in images])
        inputs = _inputs(trainers, [own.images[some] for own in images])
        logits = step.network(inputs).view(len(inputs), members, -1).transpose(0, 1).contiguous()
        each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        loss += each.view(members, -1).sum(1).double()
        correct += (logits.argmax(2) == labels).sum(1)
        if metrics:
            kept.append(logits)
    whole = torch.cat(kept, dim=1) if kept else None
    scores = []
    for k, (nats, right) in enumerate(zip(loss.tolist(), correct.tolist(), strict=True)):
        others = (
            {n: float(metric(whole[k], images[k].labels)) for n, metric in metrics.items()} if whole is not None else {}
        )
        scores.append(Score(nats / count, 100.0 * right / count, others))
    return scores


def _inputs(trainers: Sequence[Trainer], images: Sequence[Tensor]) -> Tensor:
    """The inputs of each one's images for its network: (B, K C, H, W)."""
    return torch.cat([trainer.inputs(own) for trainer, own in zip(trainers, images, strict=True)], dim=1)
