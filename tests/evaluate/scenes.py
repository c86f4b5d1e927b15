"""A clip of a fixed camera, and nets, for the tests of judging."""

import hashlib

import torch
from torch import nn
from torch.nn import functional as F

from fastnst.images import load_style, to_float, to_uint8
from fastnst.net import StylizationNet


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scene(count=21):
    """A textured wall with grain, in front of which a square goes by: (T, 3, 64, 96), 8 bits."""
    wall = F.interpolate(noise(1, 3, 16, 24), scale_factor=4, mode="bilinear")[0]
    frames = []
    for time in range(count):
        frame = wall + (noise(3, 64, 96, seed=time) - 0.5) * 6 / 255
        frame[:, 40:56, 5 + 3 * time : 21 + 3 * time] = wall[:, :16, :16].flip(0)
        frames.append(frame.clamp(0, 1))
    return to_float(to_uint8(torch.stack(frames)))


class Blur(nn.Module):
    """A net without statistics, so that both norms are one."""

    def forward(self, content):
        return F.avg_pool2d(content, 5, stride=1, padding=2) * 0.8 + 0.1


class Constant(nn.Module):
    def forward(self, content):
        return torch.full_like(content, 0.3)


def small_net(seed=0):
    torch.manual_seed(seed)
    return StylizationNet(channels=(4, 4, 4), residual_blocks=1).eval().requires_grad_(False)


def recipe(style="liechtenstein", size=64):
    """What a checkpoint says of its training, as far as the style picture is concerned."""
    return {"style_size": size, "style_sha256": hashlib.sha256(load_style(style, size).tobytes()).hexdigest()}
