"""Sigmoid cross-entropy of sparse labels against PyTorch's of dense ones, in float64."""

import weakref

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from xception.data.targets import BatchTargets
from xception.training.losses import LOSSES
from xception.training.sigmoid_loss import _BLOCK, sigmoid_cross_entropy

IMAGES, CLASSES = 5, 13


def case(seed, *, weighted=False, masked=False, scale=3.0):
    """Logits, sparse targets, and the dense targets and factors of the same."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(IMAGES, CLASSES, generator=generator, dtype=torch.float64)
    kind = torch.rand(IMAGES, CLASSES, generator=generator)
    present, absent = kind < 0.25, kind > 0.6
    present[3] = False  # an image without labels
    weights = torch.rand(IMAGES, CLASSES, generator=generator).float() * 3

    def sparse(mask):
        counts = mask.sum(1)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)]), mask.nonzero()[:, 1]

    offsets, ids = sparse(present)
    targets = BatchTargets(
        offsets,
        ids,
        weights[present] if weighted else None,
        *(sparse(absent) if masked else (None, None)),
    )
    factors = weights.double() if weighted else torch.ones(IMAGES, CLASSES).double()
    factors = factors.where(present, 1.0)
    if masked:
        factors = factors * (present | absent)
    return logits, targets, present.double(), factors, (present | absent).sum(1)


def dense_loss(logits, present, factors, reduction, annotated):
    terms = functional.binary_cross_entropy_with_logits(logits, present, factors, reduction="none")
    per_image = terms.sum(1)
    if reduction == "mean":
        per_image = per_image / annotated
    return per_image.mean()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_gradient_are_those_of_dense_targets(weighted, masked, reduction):
    for seed in range(5):
        logits, targets, present, factors, known = case(seed, weighted=weighted, masked=masked)
        annotated = known if masked else CLASSES
        ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = LOSSES["sigmoid"](reduction=reduction)(ours, targets)
        expected = dense_loss(theirs, present, factors, reduction, annotated)
        (3 * loss).backward()
        (3 * expected).backward()
        # float64: only the order of the additions differs
        assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-12, atol=1e-15)


def test_huge_logits_stay_finite_and_exact():
    logits = torch.tensor([[1e4, -1e4, 50.0, -50.0]], dtype=torch.float64, requires_grad=True)
    targets = BatchTargets(torch.tensor([0, 2]), torch.tensor([1, 3]))
    loss = sigmoid_cross_entropy(reduction="sum")(logits, targets)
    loss.backward()
    assert loss.item() == 1e4 + 1e4 + 50 + 50
    assert logits.grad.tolist() == [[1.0, -1.0, 1.0, -1.0]]


@pytest.mark.parametrize("masked", [False, True])
def test_bf16_logits_lose_nothing_but_the_rounding_of_the_gradient(masked):
    logits, targets, present, factors, _ = case(1, weighted=True, masked=masked, scale=8.0)
    rounded = logits.bfloat16()
    ours, theirs = rounded.clone().requires_grad_(), rounded.double().requires_grad_()
    loss = sigmoid_cross_entropy(reduction="sum")(ours, targets)
    expected = dense_loss(theirs, present, factors, "sum", None)
    loss.backward()
    expected.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)  # float32 sums
    # three roundings to bf16's 8 bits: sigmoid, weight, scale
    assert torch.allclose(ours.grad.double(), theirs.grad, rtol=3 * 2**-8, atol=1e-30)


def test_blocks_do_not_change_the_sum():
    rows = _BLOCK // 1000 + 3
    logits = torch.randn(rows, 1000, generator=torch.Generator().manual_seed(0))
    targets = BatchTargets(torch.arange(rows + 1), torch.arange(rows) % 1000)
    dense = functional.one_hot(targets.class_ids, 1000).double()
    expected = functional.binary_cross_entropy_with_logits(logits.double(), dense, reduction="sum")
    loss = sigmoid_cross_entropy(reduction="sum")(logits, targets)
    assert loss.item() * rows == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_no_more_than_one_dense_batch_is_built(masked):
    """Counts the tensors of the batch's size that are alive at once, beside the logits."""
    images, classes = 64, 40_000  # far more than a block
    logits = torch.zeros(images, classes, dtype=torch.bfloat16, requires_grad=True)
    offsets = torch.arange(images + 1)
    targets = BatchTargets(
        offsets, torch.arange(images), None, *((offsets, 1 + torch.arange(images)) * masked)
    )
    alive, most = {}, 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal most
            made = function(*args, **(kwargs or {}))
            for part in made if isinstance(made, (tuple, list)) else [made]:
                if isinstance(part, torch.Tensor) and part.numel() >= logits.numel():
                    storage = part.untyped_storage()
                    if storage.data_ptr() != logits.untyped_storage().data_ptr():
                        alive[storage.data_ptr()] = weakref.ref(storage)
            live = {key for key, storage in alive.items() if storage() is not None}
            most = max(most, len(live))
            return made

    with Watch():
        loss = sigmoid_cross_entropy(reduction="mean")(logits, targets)
        loss.backward()
    assert logits.grad is not None
    assert most == 1


def test_backward_a_second_time_is_refused():
    logits, targets, *_ = case(0)
    logits.requires_grad_()
    loss = sigmoid_cross_entropy()(logits, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="taken already"):
        loss.backward()


def test_unknown_reduction_is_named():
    with pytest.raises(ValueError, match=r"loss\.reduction must be mean or sum, not max"):
        sigmoid_cross_entropy(reduction="max")
