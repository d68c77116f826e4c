"""Linear layers by oneDNN: the values and gradients of torch's own."""

import copy

import pytest
import torch
from torch import nn

from gcrm.modeling.onednn import use_onednn


@pytest.fixture(autouse=True)
def on_every_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take oneDNN, though MKL may be faster."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")


def computes_by_onednn(layer: nn.Module) -> bool:
    with torch.profiler.profile() as seen:
        layer(torch.ones(2, 8))
    return any("mkldnn" in event.name for event in seen.events())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24), (2, 0, 24), (24,)])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    exact, plain = nn.Linear(24, 40, bias=bias).double(), nn.Linear(24, 40, bias=bias)
    plain.load_state_dict(exact.state_dict())
    use_onednn(plain)
    outputs = []
    for layer in (exact, copy.deepcopy(plain)):
        dtype = layer.weight.dtype
        inputs = torch.linspace(-1, 1, 24, dtype=dtype).expand(shape).clone().requires_grad_()
        found = layer(inputs)
        found.backward(torch.ones_like(found).cumsum(-1))
        gradients = [inputs.grad, *(parameter.grad for parameter in layer.parameters())]
        outputs.append([found, *gradients])
    for expected, found in zip(*outputs, strict=True):
        assert found is not None and found.shape == expected.shape
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_other_types_are_left_to_torch() -> None:
    layer = nn.Linear(8, 4).to(torch.bfloat16)
    inputs = torch.ones(2, 8, dtype=torch.bfloat16)
    expected = layer(inputs)
    use_onednn(layer)
    assert torch.equal(layer(inputs), expected)


def test_without_avx512_mkl_is_faster_but_not_the_same_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "AVX2")
    same_everywhere, fast = nn.Linear(8, 4), nn.Linear(8, 4)
    use_onednn(same_everywhere)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    use_onednn(fast)
    assert computes_by_onednn(same_everywhere)
    assert not computes_by_onednn(fast)
