"""What is used in place of what the machine lacks. The devices are pretended."""

import importlib.util

import pytest
import torch

from gcrm.modeling.hardware import choose_hardware
from gcrm.utils.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Call it to give this machine GPUs, with bf16 or without, and the package flash-attn."""

    def pretend(gpus=0, bf16=True, flash_attn=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

        def supported(including_emulation: bool = True) -> bool:
            return bf16 or including_emulation  # any GPU emulates it, slowly

        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
        of_cpu = {"avx512_bf16": bf16 and not gpus, "avx2": True}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: of_cpu)
        monkeypatch.setattr(torch.cuda, "set_device", used.append)
        find = importlib.util.find_spec
        found = {"flash_attn": object() if flash_attn else None}
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: found[name] if name in found else find(name)
        )

    used = []
    pretend.used = used
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "DS_ACCELERATOR"):
        monkeypatch.delenv(name, raising=False)
    return pretend


@pytest.mark.parametrize(
    ("there", "asked", "got", "said"),
    [
        ({"gpus": 1}, {"bf16": True, "flash_attn": True}, ("cuda", True, "flash_attention_2"), ""),
        ({"gpus": 1}, {}, ("cuda", False, "sdpa"), ""),
        ({"gpus": 1, "bf16": False}, {"bf16": True}, ("cuda", False, "sdpa"), "in fp32"),
        (
            {"gpus": 1, "flash_attn": False},
            {"bf16": True, "flash_attn": True},
            ("cuda", True, "sdpa"),
            "flash-attn is not installed: using sdpa",
        ),
        ({"gpus": 1}, {"flash_attn": True}, ("cuda", False, "sdpa"), "needs bf16: using sdpa"),
        ({}, {"bf16": True, "flash_attn": True}, ("cpu", True, "sdpa"), "there is no GPU: using"),
        (
            {"bf16": False},
            {"bf16": True},
            ("cpu", False, "sdpa"),
            "this CPU lacks it",
        ),
        ({"gpus": 3}, {}, ("cuda", False, "sdpa"), "torchrun --standalone --nproc-per-node 3"),
    ],
)
def test_what_is_missing_is_said_and_replaced(machine, capsys, there, asked, got, said):
    machine(**there)
    chosen = choose_hardware(**asked)
    assert (chosen.device, chosen.bf16, chosen.attention) == got
    assert chosen.dtype == (torch.bfloat16 if chosen.bf16 else torch.float32)
    told = capsys.readouterr().err
    assert said in told and (said or not told)


def test_each_process_has_a_gpu_of_its_own(machine, monkeypatch):
    machine(gpus=4)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    choose_hardware()
    assert machine.used == [2]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    with pytest.raises(UserError, match="5 processes were started on a machine with 4 GPUs"):
        choose_hardware()
