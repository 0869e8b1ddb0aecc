import pytest
import torch

from fsg.data.augment import augment


def slow_augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One image and one pixel at a time, as a reader would write it down."""
    n, _, height, width = images.shape
    tops, lefts = torch.randint(9, (2, n, 1), generator=generator)
    flips = torch.randint(2, (n, 1), generator=generator)
    result = torch.zeros_like(images)
    for i in range(n):
        for y in range(height):
            for x in range(width):
                from_y, from_x = y + int(tops[i]) - 4, x + int(lefts[i]) - 4
                if 0 <= from_y < height and 0 <= from_x < width:
                    result[i, :, y, width - 1 - x if flips[i] else x] = images[i, :, from_y, from_x]
    return result


def images_of(n: int, shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randint(1, 256, (n, *shape), generator=torch.Generator().manual_seed(n), dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 9), (2, 6, 1)])
def test_augmentation_equals_the_slow_per_image_reference(shape):
    images = images_of(23, shape)
    fast = augment(images, torch.Generator().manual_seed(11))
    assert fast.dtype == torch.uint8
    assert torch.equal(fast, slow_augment(images, torch.Generator().manual_seed(11)))


def test_every_shift_and_both_directions_occur():
    marked = torch.zeros(4000, 1, 9, 9, dtype=torch.uint8)
    marked[:, :, 4, 4] = 1
    marked[:, :, 4, 3] = 2  # stands right of the mark where the image was mirrored
    marked = augment(marked, torch.Generator().manual_seed(0))
    places = (marked == 1).flatten(2).sum(0)[0]
    assert (places > 0).all() and places.max() < 3 * places.min()
    row = (marked == 1).nonzero()
    right = (row[:, 3] < 8).nonzero().flatten()
    mirrored = marked[row[right, 0], 0, row[right, 2], row[right, 3] + 1] == 2
    assert 0.45 < mirrored.double().mean() < 0.55


def test_augmentation_is_decided_by_its_generator_and_leaves_its_input_alone():
    images = images_of(16, (3, 8, 8))
    kept = images.clone()
    generator = torch.Generator().manual_seed(1)
    first, second = augment(images, generator), augment(images, generator)
    assert torch.equal(images, kept)
    assert not torch.equal(first, second)
    assert torch.equal(first, augment(images, torch.Generator().manual_seed(1)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_augmentation_on_the_gpu_equals_the_cpu():
    images = images_of(64, (3, 32, 32))
    on_gpu = augment(images.cuda(), torch.Generator().manual_seed(2))
    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_gpu.cpu(), augment(images, torch.Generator().manual_seed(2)))
