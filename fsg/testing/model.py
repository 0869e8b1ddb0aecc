"""What every network must do."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.layers import quantized_layers, using
from fsg.models import build_model
from fsg.testing.contract import Contract
from fsg.testing.training import assert_resumes, copied, difference, same_bits, small_images


class ModelContract(Contract):
    """Of a part of the kind ``model``. ``image_shape`` and ``classes``: what it is tried on."""

    kind = "model"
    image_shape: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    classes: ClassVar[int] = 3

    def make(self, seed: int = 0, quantizer: str = "dorefa") -> nn.Module:
        """The network with fresh weights."""
        torch.manual_seed(seed)
        return build_model(self.make_trial(quantizer=quantizer), self.image_shape, self.classes)

    def test_logits_are_finite_one_for_each_class(self) -> None:
        """While training and after, in both dtypes."""
        for dtype in (torch.float32, torch.float64):
            model = self.make().to(dtype)
            for mode in (True, False):
                for count in (4, 7):
                    logits = model.train(mode)(self._images(count, dtype))
                    assert logits.shape == (count, self.classes), (
                        f"{count} images of {self.image_shape} gave {tuple(logits.shape)}, expected {(count, self.classes)}."
                    )
                    assert logits.dtype == dtype, (
                        f"a network in {dtype} gave {logits.dtype}; make tensors like its input."
                    )
                    assert torch.isfinite(logits).all(), "a logit is not finite."

    def test_an_image_is_read_the_same_whatever_stands_beside_it(self) -> None:
        """In evaluation, which goes in batches of any size."""
        model, images = self.make().double().eval(), self._images(6, torch.float64)
        with torch.no_grad():
            together, alone = model(images), torch.cat([model(image[None]) for image in images])
        assert torch.allclose(together, alone, rtol=1e-6, atol=1e-8), (
            f"logits differ by {(together - alone).abs().max():.3g} where images are read one by one: in evaluation something "
            "depends on the batch."
        )

    def test_it_has_quantised_layers_where_a_quantizer_is_given_and_none_without(self) -> None:
        """All of the one that is given: which layers get others is for the study to say."""
        layers = quantized_layers(self.make())
        assert layers, "no layer is quantised; make some as QuantConv2d or QuantLinear with quantizer=quantizer."
        assert len({repr(layer.quantizer) for layer in layers.values()}) == 1, (
            "its layers have different quantizers; pass on the one that the builder gets."
        )
        left = quantized_layers(self.make(quantizer="none"))
        assert not left, (
            f"{', '.join(left)}: quantised though no quantizer was given; pass on the one that the builder gets."
        )

    def test_a_gradient_reaches_every_quantised_weight(self) -> None:
        """The weight that the layer multiplies with, which a training step puts in place."""
        model = self.make().train()
        layers = quantized_layers(model)
        in_use = [layer.quantizer(layer.weight).value.requires_grad_() for layer in layers.values() if layer.quantizer]
        with using(list(layers.values()), in_use):
            loss = F.cross_entropy(model(self._images(8)), torch.arange(8) % self.classes)
            loss.backward()
        for name, weight in zip(layers, in_use, strict=True):
            assert weight.grad is not None, (
                f"no gradient reaches {name}: it is not used, or its .weight is read past the layer; call the layer."
            )
            assert torch.isfinite(weight.grad).all(), f"the gradient of {name} is not finite."

    def test_its_first_weights_follow_the_seed(self) -> None:
        """Drawn from torch's global generator, which a trial seeds, and from no other."""
        first, again, other = (copied(self.make(seed).state_dict()) for seed in (0, 0, 1))
        assert (differs := difference(first, again)) is None, f"two networks of one seed differ: {differs}."
        assert difference(first, other) is not None, "networks of two seeds are the same."

    def test_a_state_dict_is_the_whole_network(self) -> None:
        """Loaded into another, it gives the same logits."""
        first, second = self.make().train(), self.make(seed=1)
        first(self._images(8))  # running statistics move
        second.load_state_dict(copied(first.state_dict()))
        with torch.no_grad():
            one, other = (model.eval()(self._images(5)) for model in (first, second))
        assert same_bits(one, other), (
            "a network that took over a state_dict gives other logits: what it depends on belongs into parameters and buffers."
        )

    def test_a_trial_with_it_resumes_to_the_bit(self) -> None:
        """Stopped within an epoch and between two."""
        assert_resumes(self.make_trial(), small_images(self.image_shape, self.classes))

    def _images(self, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
        rng = torch.Generator().manual_seed(3)
        return torch.randn(count, *self.image_shape, generator=rng, dtype=torch.float64).to(dtype)
