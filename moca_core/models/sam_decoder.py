"""SAM's prompt encoder and mask decoder (Kirillov et al. 2023).

Written for many prompts on one picture: what doesn't depend on the prompt is computed once for
all of them (see `TwoWayLayer`). Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.models.tinyvit import LayerNorm2d

IMAGE_SIDE = 1024
STRIDE = 16


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of the prompt encoder and the mask decoder."""

    width: int = 256
    heads: int = 8
    depth: int = 2
    mlp: int = 2048
    mask_channels: int = 16
    iou_hidden: int = 256
    grid: int = IMAGE_SIDE // STRIDE
    """Side of the embedding of a full square; positions are fractions of it."""


class Positions(nn.Module):
    """Random Fourier features of positions in [0, 1]."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, width // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) in [0, 1] -> (..., C) float32, also where autocast would round places."""
        with torch.autocast(xy.device.type, enabled=False):
            angle = (2 * xy - 1) @ self.positional_encoding_gaussian_matrix * (2 * math.pi)
            return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def dense(self, rows: int, columns: int, side: int) -> Tensor:
        """(1, C, rows, columns): the upper left part of the positions of a side x side grid."""
        device = self.positional_encoding_gaussian_matrix.device
        y = (torch.arange(rows, device=device) + 0.5) / side
        x = (torch.arange(columns, device=device) + 0.5) / side
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (rows, columns, 2)
        return self(grid).permute(2, 0, 1)[None]


class PromptEncoder(nn.Module):
    """Points, boxes and masks as tokens."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        width, inner = shape.width, shape.mask_channels
        self.side_px = shape.grid * STRIDE
        self.pe_layer = Positions(width)
        # 0: background point, 1: foreground point, 2 and 3: corners of a box.
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, inner // 4, 2, 2),
            LayerNorm2d(inner // 4),
            nn.GELU(),
            nn.Conv2d(inner // 4, inner, 2, 2),
            LayerNorm2d(inner),
            nn.GELU(),
            nn.Conv2d(inner, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> Tensor:
        """Sparse tokens of P prompts.

        Parameters
        ----------
        points : (P, K, 2) x, y in pixels of the resized picture, with `labels` (P, K): 1 on the
            object, 0 beside it, -1 no point.
        boxes : (P, 4) x0, y0, x1, y1 in the same pixels.

        Returns
        -------
        (P, T, C) tokens. Without a box a padding point is added, as the model was trained.
        """
        tokens = []
        if points is not None and labels is not None:
            if boxes is None:
                points = F.pad(points, (0, 0, 0, 1))
                labels = F.pad(labels, (0, 1), value=-1)
            tokens.append(self._point_tokens(points, labels))
        if boxes is not None:
            corners = self.pe_layer((boxes.view(-1, 2, 2) + 0.5) / self.side_px)
            kinds = torch.cat([self._kind(2), self._kind(3)])
            tokens.append(corners + kinds)
        return torch.cat(tokens, dim=1)

    def _point_tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        tokens = self.pe_layer((points + 0.5) / self.side_px)  # (P, K, C)
        nothing = (labels == -1)[..., None]
        tokens = torch.where(nothing, self.not_a_point_embed.weight[0], tokens)
        for kind in (0, 1):
            here = (labels == kind)[..., None]
            tokens = torch.where(here, tokens + self._kind(kind)[0], tokens)
        return tokens

    def _kind(self, kind: int) -> Tensor:
        embedding = self.point_embeddings[kind]
        assert isinstance(embedding, nn.Embedding)  # ModuleList forgets what it holds
        return embedding.weight


class Attention(nn.Module):
    """Multi-head attention with an inner width of its own, split so that parts can be shared."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def split(self, x: Tensor) -> Tensor:
        """(B, L, inner) -> (B, heads, L, d)."""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(P, L, C) queries over (P or 1, S, C) keys and values -> (P, L, C)."""
        q = self.split(self.q_proj(query))
        k, v = self.split(self.k_proj(key)), self.split(self.v_proj(value))
        return self.join(self.weights(q, k) @ v)

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Attention weights (P, heads, L, S); batches of one are broadcast."""
        return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(dim=-1)

    def join(self, y: Tensor) -> Tensor:
        """(P, heads, L, d) -> (P, L, C)."""
        return self.out_proj(y.transpose(1, 2).flatten(2))

    def few_keys(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same function where there are far more queries than keys.

        The output projection is folded into the few values of each head, so that it isn't
        applied to every query: (P, heads * S, C) takes the place of (P, L, inner).
        """
        q = self.split(self.q_proj(query))
        k, v = self.split(self.k_proj(key)), self.split(self.v_proj(value))
        weights = self.weights(q, k)  # (P, heads, L, S)
        per_head = self.out_proj.weight.view(-1, self.heads, v.shape[-1])  # (C, heads, d)
        folded = torch.einsum("phsd,chd->phsc", v, per_head)  # (P, heads, S, C)
        prompts, heads, length, keys = weights.shape
        spread = weights.transpose(1, 2).reshape(prompts, length, heads * keys)
        return torch.baddbmm(self.out_proj.bias, spread, folded.reshape(prompts, heads * keys, -1))


class TokenMlp(nn.Module):
    """The ReLU MLP of a two-way layer."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return self.lin2(F.relu(self.lin1(x)))


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the picture, then the picture to the tokens.

    In the first layer the picture is the same for all prompts: it comes with a batch of one, its
    projections are computed once, and only the last step gives each prompt its own picture.
    """

    def __init__(self, shape: DecoderShape, first: bool) -> None:
        super().__init__()
        width, half = shape.width, shape.width // 2
        self.first = first
        self.self_attn = Attention(width, shape.heads, width)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = Attention(width, shape.heads, half)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TokenMlp(width, shape.mlp)
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = Attention(width, shape.heads, half)

    def forward(
        self, tokens: Tensor, image: Tensor, place: Tensor, grid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tokens (P, T, C) with their own positions `place`, image (P or 1, N, C) with `grid`."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + place
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)
        keys = image + grid
        tokens = tokens + self.cross_attn_token_to_image(tokens + place, keys, image)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.cross_attn_image_to_token.few_keys(keys, tokens + place, tokens)
        return tokens, self.norm4(image + update)


class TwoWayTransformer(nn.Module):
    """SAM's decoder body."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(shape, k == 0) for k in range(shape.depth))
        self.final_attn_token_to_image = Attention(shape.width, shape.heads, shape.width // 2)
        self.norm_final_attn = nn.LayerNorm(shape.width)

    def forward(self, image: Tensor, grid: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """image and grid (P or 1, N, C), tokens (P, T, C) -> tokens (P, T, C), image (P, N, C)."""
        place = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, place, grid)
        tokens = tokens + self.final_attn_token_to_image(tokens + place, image + grid, image)
        return self.norm_final_attn(tokens), image


class Mlp3(nn.Module):
    """Three linear layers with ReLU between."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        sizes = (width, hidden, hidden, out)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., out)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(nn.Module):
    """Masks and their predicted IoU from an image embedding and prompt tokens."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        width = shape.width
        self.transformer = TwoWayTransformer(shape)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(4, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Mlp3(width, width, width // 8) for _ in range(4)
        )
        self.iou_prediction_head = Mlp3(width, shape.iou_hidden, 4)

    def forward(
        self, image: Tensor, grid: Tensor, sparse: Tensor, multimask: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Decode P prompts on one picture.

        Parameters
        ----------
        image : (P or 1, C, gh, gw) embedding with the dense prompt added; `grid` (1, C, gh, gw).
        sparse : (P, T, C) prompt tokens.
        multimask : three masks a prompt, else the single one.

        Returns
        -------
        logits : (P, 3 or 1, 4 gh, 4 gw); iou : (P, 3 or 1).
        """
        prompts, rows, columns = len(sparse), image.shape[2], image.shape[3]
        output = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([output.expand(prompts, -1, -1), sparse], dim=1)
        tokens, pixels = self.transformer(
            image.flatten(2).transpose(1, 2), grid.flatten(2).transpose(1, 2), tokens
        )
        pixels = pixels.transpose(1, 2).reshape(prompts, -1, rows, columns)
        upscaled = self.output_upscaling(pixels)  # (P, C/8, 4 gh, 4 gw)
        wanted = range(1, 4) if multimask else range(1)
        weights = torch.stack(
            [self.output_hypernetworks_mlps[k](tokens[:, 1 + k]) for k in wanted], dim=1
        )  # (P, masks, C/8)
        logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        iou = self.iou_prediction_head(tokens[:, 0])
        return logits, iou[:, list(wanted)]


def stability_score(logits: Tensor, offset: float = 1.0) -> Tensor:
    """(..., h, w) logits -> (...) IoU of the masks above +offset and above -offset."""
    inner = (logits > offset).flatten(-2).sum(-1)
    outer = (logits > -offset).flatten(-2).sum(-1)
    return inner / outer.clamp(min=1)
