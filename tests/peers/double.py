"""double.py - Qwen2.5-VL of transformers with all activations in fp64

The library rounds to fp32 in three places whatever the model's type is: in norms, in the vision tower's rotation and in
the softmax of attention.  Here these keep fp64.  Cosines and sines of the rotation stay what a checkpoint is run with:
fp32 numbers, here correctly rounded ones of the library's fp32 angles.
"""
import torch
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as modeling


def norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rotate(q, k, cos, sin):
    cos, sin = cos.unsqueeze(-2).to(q.dtype), sin.unsqueeze(-2).to(q.dtype)
    return q * cos + modeling.rotate_half(q) * sin, k * cos + modeling.rotate_half(k) * sin


def attend(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    key = modeling.repeat_kv(key, module.num_key_value_groups)
    value = modeling.repeat_kv(value, module.num_key_value_groups)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    p = torch.softmax(scores, dim=-1)
    return torch.matmul(p, value).transpose(1, 2).contiguous(), p


def table(self, x, position_ids):
    assert self.inv_freq.dtype == torch.float32 and self.attention_scaling == 1
    if isinstance(self, modeling.Qwen2_5_VLRotaryEmbedding):
        position_ids = position_ids.expand(3, -1, -1)
    angle = (position_ids[..., None].float() * self.inv_freq).double()
    return tuple(self.recomposition_frequencies(f(angle).float()).double() for f in (torch.cos, torch.sin))


def install():
    """Models that are made from now on compute in fp64 throughout, if their weights are fp64."""
    modeling.Qwen2_5_VLRMSNorm.forward = norm
    modeling.apply_rotary_pos_emb_vision = rotate
    modeling.eager_attention_forward = attend
    for cls in modeling.Qwen2_5_VLRotaryEmbedding, modeling.Qwen2_5_VLVisionRotaryEmbedding:
        cls.forward = torch.no_grad()(table)
