"""SyncBatchNorm: two replicas with half of the batch each equal one with all of it."""

import copy
import socket

import pytest
import torch
import torch.multiprocessing
from torch import nn

from xception.kernels import compilation, tuning
from xception.kernels.flow import fused_features
from xception.models.xception import Xception


def small_model():
    torch.manual_seed(0)
    return Xception(
        num_classes=0,
        widths=(4, 4, 6, 8, 8, 8, 8, 8),
        stem_strides=(1, 1),
        middle_flow_repeats=1,
    ).double()


def batch():
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(4, 3, 21, 21, generator=generator, dtype=torch.float64)
    return images, torch.randn(4, 8, 2, 2, generator=generator, dtype=torch.float64)


def run_replica(rank, port, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    model = nn.SyncBatchNorm.convert_sync_batchnorm(small_model())
    images, grad = (tensor[2 * rank : 2 * rank + 2] for tensor in batch())
    fused_features(model, images).backward(grad)
    gradients = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    for gradient in gradients.values():  # by hand, as DDP takes SyncBatchNorm only on GPUs
        torch.distributed.all_reduce(gradient)
    results[rank] = {**gradients, **dict(model.named_buffers())}
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_replicas_equal_the_whole_batch():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(run_replica, (port, results), nprocs=2)
        replicas = [copy.deepcopy(results[rank]) for rank in (0, 1)]
    model = small_model()
    images, grad = batch()
    features = model.exit_flow(model.middle_flow(model.entry_flow(images)))
    (features * grad).sum().backward()
    expected = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    expected |= dict(model.named_buffers())
    for replica in replicas:
        assert replica.keys() == expected.keys()
        for name, value in expected.items():
            # float64; only the order of sums differs
            limit = 1e-8 * max(value.abs().max().item(), 1.0)
            torch.testing.assert_close(replica[name], value, rtol=0, atol=limit, msg=name)


def train_replica(rank, port, results):
    """One step of DDP on the one GPU that both replicas share; gloo, as NCCL wants a GPU each."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model = Xception(num_classes=8, width=0.25, fused=True, numerics="timm")
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model).cuda()
    model.to(memory_format=torch.channels_last)
    replica = nn.parallel.DistributedDataParallel(model, device_ids=[0])
    images, labels = (part[2 * rank : 2 * rank + 2].cuda() for part in gpu_batch())
    images = images.to(memory_format=torch.channels_last)
    with tuning.pinned():
        with compilation.side_by_side():
            fused_features(copy.deepcopy(model), images).sum().backward()
        nn.functional.cross_entropy(replica(images), labels).backward()
    results[rank] = {k: p.grad.cpu() for k, p in model.named_parameters()}
    torch.distributed.destroy_process_group()


def gpu_batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(4, 3, 107, 107, generator=generator), torch.tensor([1, 2, 3, 4])


@pytest.mark.gpu
def test_ddp_of_two_replicas_equals_the_whole_batch_on_a_gpu():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with torch.multiprocessing.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(train_replica, (port, results), nprocs=2)
        replicas = [dict(results[rank]) for rank in (0, 1)]
    torch.manual_seed(0)
    model = Xception(num_classes=8, width=0.25, numerics="timm").double().cuda()
    images, labels = gpu_batch()
    nn.functional.cross_entropy(model(images.double().cuda()), labels.cuda()).backward()
    for replica in replicas:
        for name, parameter in model.named_parameters():
            expected = parameter.grad.cpu()
            # float32 against float64 through 36 layers, as in check_flow: 1e-3 of the largest value
            limit = 1e-3 * max(expected.abs().max().item(), 1e-3)
            torch.testing.assert_close(
                replica[name].double(), expected, rtol=0, atol=limit, msg=name
            )
