"""TinyViT, the image encoder of MobileSAM (Wu et al. 2022; Zhang et al. 2023).

Parameter names are those of the published checkpoint. The norm inside an attention comes after
the zero padding of its windows, so padded tokens take part unmasked: that is how it was trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)


class ConvNorm(nn.Module):
    """A convolution without bias and its BatchNorm, which `fuse` folds into one convolution."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        padding = kernel // 2
        self.c: nn.Conv2d = nn.Conv2d(
            width_in, width_out, kernel, stride, padding, groups=groups, bias=False
        )
        self.bn: nn.Module = nn.BatchNorm2d(width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W')."""
        return self.bn(self.c(x))

    def fuse(self) -> None:
        """Fold the normalisation into the convolution: same function, half the passes."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.c = torch.nn.utils.fuse_conv_bn_eval(self.c, self.bn)
            self.bn = nn.Identity()


class InvertedBottleneck(nn.Module):
    """MBConv: expand, depthwise 3x3, project, with a residual."""

    def __init__(self, width: int, expand: int = 4) -> None:
        super().__init__()
        hidden = width * expand
        self.conv1 = ConvNorm(width, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(x + self.conv3(y))


class Downsample(nn.Module):
    """Change of width, and of resolution unless the width becomes 320."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        stride = 1 if width_out == 320 else 2
        self.conv1 = ConvNorm(width_in, width_out)
        self.conv2 = ConvNorm(width_out, width_out, 3, stride, groups=width_out)
        self.conv3 = ConvNorm(width_out, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H', W')."""
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Attention inside a window with a learned bias for each pair of offsets."""

    bias_index: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        # Offsets are numbered in the order in which the pairs first show them; since the first
        # token meets every offset (dy, dx) in row-major order, the number is dy * window + dx.
        index = (y[:, None] - y[None]).abs() * window + (x[:, None] - x[None]).abs()
        self.register_buffer("bias_index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(windows, window**2, C) -> the same shape."""
        count, length, width = x.shape
        qkv = self.qkv(self.norm(x)).view(count, length, self.heads, 3, width // self.heads)
        query, key, value = qkv.permute(3, 0, 2, 1, 4).unbind(0)  # (windows, heads, L, d) each
        bias = self.attention_biases[:, self.bias_index]  # (heads, L, L)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(y.transpose(1, 2).reshape(count, length, width))


class Mlp(nn.Module):
    """LayerNorm, expand by four, GELU, project."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class AttentionBlock(nn.Module):
    """Window attention with a residual, a depthwise convolution without one, an MLP with one."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        x = x + self._attend(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.mlp(x)

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.window
        below, right = -height % side, -width % side
        x = F.pad(x, (0, 0, 0, right, 0, below))
        rows, columns = (height + below) // side, (width + right) // side
        # (B, rows, side, columns, side, C) -> (B * rows * columns, side**2, C)
        x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side * side, channels))
        x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = x.reshape(batch, height + below, width + right, channels)
        return x[:, :height, :width]


class Stage(nn.Module):
    """Blocks of one width, then a change of width; works on (B, C, H, W)."""

    def __init__(self, number: int) -> None:
        super().__init__()
        width = WIDTHS[number]
        self.is_conv = number == 0
        self.blocks = nn.ModuleList(
            InvertedBottleneck(width)
            if self.is_conv
            else AttentionBlock(width, HEADS[number], WINDOWS[number])
            for _ in range(DEPTHS[number])
        )
        self.downsample = Downsample(width, WIDTHS[number + 1]) if number < 3 else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        if not self.is_conv:
            x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        if not self.is_conv:
            x = x.permute(0, 3, 1, 2)
        return x if self.downsample is None else self.downsample(x)


class LayerNorm2d(nn.Module):
    """LayerNorm over the channels of (B, C, H, W)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Two strided convolutions: a quarter of the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, WIDTHS[0] // 2, 3, 2), nn.GELU(), ConvNorm(WIDTHS[0] // 2, WIDTHS[0], 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 64, H/4, W/4)."""
        return self.seq(x)


class TinyViT(nn.Module):
    """MobileSAM's image encoder: (B, 3, H, W) normalised -> (B, 256, H/16, W/16).

    H and W are multiples of 16. It has no absolute positions, so a picture needn't be padded to
    a square.
    """

    def __init__(self, width_out: int = 256) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed()
        self.layers = nn.ModuleList(Stage(number) for number in range(4))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[3], width_out, 1, bias=False),
            LayerNorm2d(width_out),
            nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
            LayerNorm2d(width_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 256, H/16, W/16)."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)

    def fuse(self) -> None:
        """Fold every BatchNorm into its convolution, for inference."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fuse()
