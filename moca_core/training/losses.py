"""What training asks of the features (METHOD.md section 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet(near: Tensor, far: Tensor, margin: float) -> Tensor:
    """Mean of max(0, near - far + margin): what should be near is, by the margin.

    Parameters
    ----------
    near, far : (B,) distances of PMA, 0 to 1.
    """
    return F.relu(near - far + margin).mean()


def contrast(places: Tensor, sounds: Tensor, temperature: float, recordings: Tensor) -> Tensor:
    """InfoNCE, both ways, between sounds and what was attended to in their pictures.

    Parameters
    ----------
    places, sounds : (B, De), length 1; row i of both belong together.
    temperature : by which cosines are divided.
    recordings : (B,) int; other rows of one recording are no negatives of each other.

    Returns
    -------
    A scalar; 0 where there is no negative.
    """
    logits = places @ sounds.T / temperature  # (B, B)
    same = recordings[:, None] == recordings[None, :]
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def attended(values: Tensor, attention: Tensor) -> Tensor:
    """Mean of features weighted by an attention map, of length 1.

    Parameters
    ----------
    values : (B, N, De); attention : (B, N), at least 0.
    """
    weights = attention / attention.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return F.normalize(torch.einsum("bn,bnd->bd", weights, values), dim=-1)
