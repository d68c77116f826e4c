"""Flash attention without its kernel, to test what reaches the kernel."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel, modeling_flash_attention_utils


def varlen_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    softmax_scale: float | None = None,
    causal: bool = False,
    **others: Any,
) -> Tensor:
    """What flash_attn.flash_attn_varlen_func computes, sequence by sequence; (tokens, heads, d)."""
    assert causal and not others.get("dropout_p")
    assert cu_seqlens_q.dtype == torch.int32 and torch.equal(cu_seqlens_q, cu_seqlens_k)
    lengths = cu_seqlens_q.diff().tolist()
    assert sum(lengths) == len(q) and max_seqlen_q == max_seqlen_k >= max(lengths)
    parts = [
        F.scaled_dot_product_attention(
            *(x.transpose(0, 1) for x in each), is_causal=True, scale=softmax_scale, enable_gqa=True
        ).transpose(0, 1)
        for each in zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
    ]
    return torch.cat(parts)


def use_flash_attention(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a model compute by transformers' own flash attention, with the kernel above."""
    utils = modeling_flash_attention_utils

    def kernels(*_: Any, **__: Any) -> tuple[Any, ...]:
        return None, varlen_attention, None, utils._pad_input, utils._unpad_input

    monkeypatch.setattr(utils, "_lazy_imports", kernels)
    monkeypatch.setattr(utils, "_loaded_implementation", None)
    model.config._attn_implementation = "flash_attention_2"
