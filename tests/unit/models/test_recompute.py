import copy

import pytest
import torch
import torch.nn.functional as F
from small_networks import LARGE, OURS, build


@pytest.mark.parametrize("name", [*OURS, *LARGE])
def test_checkpointing_changes_memory_only(name):
    torch.manual_seed(0)
    plain = build(name).train()
    if name == "xception":
        plain = build(name, drop_path=0.5, dropout=0.3).train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    x, labels = torch.randn(2, 3, 80, 80), torch.tensor([1, 2])
    kept = {}
    for key, model in (("plain", plain), ("saving", saving)):
        torch.manual_seed(1)  # dropout and stochastic depth
        total = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, total=total: total.append(t.numel()) or t, lambda t: t
        ):
            loss = F.cross_entropy(model(x), labels)
        kept[key] = sum(total)
        loss.backward()
    assert kept["saving"] < 0.9 * kept["plain"]
    for (key, own), other in zip(
        saving.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other), key  # running statistics were updated once, not twice
    for own, other in zip(saving.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    batches = [v for k, v in saving.state_dict().items() if k.endswith("num_batches_tracked")]
    assert all(int(v) == 1 for v in batches)


@pytest.mark.slow
def test_compiled_checkpointing_updates_statistics_once():
    torch.manual_seed(0)
    plain = build("xception").train()
    saving = copy.deepcopy(plain)
    saving.set_grad_checkpointing()
    compiled = torch.compile(saving, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 80, 80)
    plain(x).sum().backward()
    compiled(x).sum().backward()
    for (key, own), other in zip(
        saving.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(own, other, msg=key)
