"""The canvas: a noise field that holds still under the picture, so that strokes have something to hold on to.

On a flat wall only the noise of the camera could tell a net where a stroke goes, and that changes with every frame. The
canvas is a fourth input of the net that does not change: strokes take hold of it, and stay.

Source: noise as an input of a stylization net from Ulyanov et al. 2016, "Texture Networks", arXiv:1603.03417, there for
variety. A texture that is carried along the motion of a video is how non-photorealistic rendering holds strokes still:
Bousseau et al. 2007, "Video Watercolorization using Bidirectional Texture Advection", doi:10.1145/1276377.1276507.
Differs: the texture is not drawn on the picture, it is an input of the net, in training and in use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Generator, Tensor

from fastnst.flow import ramp

GRAINS = (2, 4, 8)  # pixels of the frame that the net sees; noise of each size has the same share
DEVIATION = 0.2  # of the field, whose mean is 0, in units of the [0, 1] range
PERIOD = 2048  # pixels after which the field repeats
SEED = 1  # of the field: there is one for all nets and frames, so that the same clip gives the same painting
ORIGIN = 512  # pixels; where in the field a picture begins, so that a canvas may move either way
SLOW, FAST = 0.25, 0.5  # pixels a frame: up to which flow is taken for noise, and from which for motion
CELL = 4  # pixels; the side of the squares that a map has one offset for
CALM, BUSY = 1.5, 4.5  # grey levels of change: the same
FAINT, CLEAR = 1.0, 5.0  # grey levels from cell to cell: up to which there is no edge, and from which there is one
# share of the edges that hold still: up to which the camera moves, and from which it does not
PANS, STANDS = 0.15, 0.35
SHAKES, GOES = 0.6, 1.0  # pixels a frame, the median: up to which the camera only shakes, and from which it moves on
AREA = 9  # cells; the side of the squares in which flows are compared
# squared mean of the flows in a square by the mean of their squares: up to which they differ, and from which are one
MIXED, ONE = 0.8, 0.98
SEEN, HIDDEN = 6.0, 18.0  # grey levels between a frame and what the flow brings: trusted in full, not at all
TORN = 0.7  # change of the map from pixel to pixel above which it is mended
STRETCHED, MOST = 0.45, 0.4  # change above which it is stretched too far; share of such pixels that asks for a new one
FADE = 16  # frames in which a new map fades in
AROUND = 13  # cells from which a hole in the map is filled
TEXTURE = 0.75  # amplitude in use: walls are full of strokes, and a bottle before one is still a bottle
TEXTURES = (0.0, 0.5, 1.0, 1.0, 1.5)  # amplitudes that training draws from, so that a net knows the dial `texture`


@cache
def field() -> np.ndarray:
    """Returns one period of the noise field, (PERIOD, PERIOD) float32."""
    generator = Generator().manual_seed(SEED)
    total = np.zeros((PERIOD, PERIOD), np.float32)
    for grain in GRAINS:
        side, margin = PERIOD // grain, 4
        coarse = torch.randn(1, 1, side, side, generator=generator)
        around = F.pad(coarse, (margin,) * 4, mode="circular")
        fine = F.interpolate(around, scale_factor=grain, mode="bicubic", align_corners=False)
        total += fine[0, 0, margin * grain :, margin * grain :][:PERIOD, :PERIOD].numpy()
    return total * (DEVIATION / total.std())


def sampled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the field at positions in pixels, (height, width) float32; bicubic, and it repeats outside."""
    x, y = (
        each + np.float32(ORIGIN - (each.min() + ORIGIN) // PERIOD * PERIOD) for each in (x, y)
    )  # close to 0 wrapping is fast
    return cv2.remap(field(), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


@lru_cache(maxsize=8)
def positions(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns x and y of every pixel of a frame, each (height, width) float32."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y


@lru_cache(maxsize=4)
def fixed_canvas(height: int, width: int) -> Float[Tensor, "1 1 height width"]:
    """Returns the canvas of a picture, or of a camera that does not move: the field from its corner on."""
    return torch.from_numpy(sampled(*positions(height, width)))[None, None]


def drawn_canvas(
    seed: int, height: int, width: int, flow: Float[Tensor, "2 height width"] | None = None
) -> tuple[Float[Tensor, "1 height width"], Float[Tensor, "1 height width"]]:
    """Returns the canvas of a training picture and that of its next frame: a random place of the field, both at once.

    Args:
        seed: what the place and the amplitude, one of `TEXTURES`, are drawn from.
        height: of the picture.
        width: of the picture.
        flow: where each pixel of the next frame was in the picture, pixels; None if nothing moves.
    """
    generator = Generator().manual_seed(seed)
    left, top = torch.randint(PERIOD, (2,), generator=generator).tolist()
    texture = TEXTURES[int(torch.randint(len(TEXTURES), (), generator=generator))]
    x, y = positions(height, width)
    canvas = torch.from_numpy(texture * sampled(x + left, y + top))[None]
    if flow is None:
        return canvas, canvas
    along = flow.float().cpu().numpy()
    return canvas, torch.from_numpy(texture * sampled(x + left + along[0], y + top + along[1]))[None]


class CarriedCanvas:
    """The canvas of a stream, carried along the motion of its input, and still where the input is still.

    What is carried is not the noise but a map of positions in the field: it is resampled from frame to frame, the noise
    once, so it is never blurred. The map is smooth, so it is kept at a quarter of the size. Where it tears, or shows
    what was hidden before, it follows its surroundings; where most of it is stretched too far, a new one fades in.

    Args:
        texture: amplitude of the noise: at 0 flat areas stay calm, at 1.5 they are full of strokes.
        motion: "flow" carries the canvas, "fixed" keeps it in its place, for a camera that does not move.

    Attributes:
        moved: how far each cell went along the last flow, 0 to 1, (H / CELL, W / CELL) float32; None: there was none.

    Source: the dual textures that take turns, Max and Becker 1995, "Flow visualization using moving textures".
    Differs: a new texture comes only when the old one is stretched too far.
    """

    def __init__(self, texture: float = TEXTURE, motion: str = "flow") -> None:
        self.texture, self.motion = texture, motion
        self.reset()

    def reset(self) -> None:
        """Begins again with the field in its place."""
        self._maps: list[np.ndarray] = []  # from a pixel to its place in the field: (H / CELL, W / CELL, 2) pixels
        self._share = 0.0  # of the second map, while it fades in
        self._before: np.ndarray | None = None  # the luma of the last frame, (H / CELL, W / CELL), grey levels
        self._canvas: Tensor | None = None  # of the last frame
        self.moved: np.ndarray | None = None

    def memory(self) -> dict[str, Tensor]:
        """Returns what is remembered, by name, for `recall`; nothing before the first frame."""
        if self._before is None:
            return {}
        maps = {f"map{place}": torch.from_numpy(each) for place, each in enumerate(self._maps)}
        return {"before": torch.from_numpy(self._before), "share": torch.tensor(self._share), **maps}

    def recall(self, memory: Mapping[str, Tensor]) -> None:
        """Continues from what `memory` returned."""
        self.reset()
        if memory:
            self._before, self._share = memory["before"].cpu().numpy(), float(memory["share"])
            self._maps = [memory[name].cpu().numpy() for name in ("map0", "map1") if name in memory]

    def next(
        self,
        half: UInt8[np.ndarray, "rows columns"] | None,
        flow: Float[np.ndarray, "rows columns 2"] | None,
        height: int,
        width: int,
    ) -> Float[Tensor, "1 1 height width"]:
        """Returns the canvas of the stream's next frame.

        Args:
            half: luma of the frame at half its size, see `fastnst.flow.half_luma`; not needed if the motion is fixed.
            flow: from it to the one before, in its pixels; None where a scene begins.
            height: of the frame.
            width: of the frame.
        """
        if self.motion == "fixed" or half is None:
            return self.texture * fixed_canvas(height, width)
        size = (-(-width // CELL), -(-height // CELL))
        cells = cv2.resize(half, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        if flow is None or self._before is None or self._before.shape != cells.shape:
            self._maps, self._share, self._canvas = [np.zeros((*cells.shape, 2), np.float32)], 0.0, None
            self.moved = None
        else:
            coarse = 2 * cv2.resize(flow, size, interpolation=cv2.INTER_AREA)
            self.moved = moves(coarse, cells, self._before)
            moving = coarse * self.moved[..., None]
            if moving.any() or len(self._maps) > 1:
                self._carry(moving, cells)
                self._fade()
                self._canvas = None
        self._before = cells
        if self._canvas is None:
            self._canvas = torch.from_numpy(self.texture * self._drawn(height, width))[None, None]
        return self._canvas

    def _carry(self, flow: np.ndarray, cells: np.ndarray) -> None:
        """Moves the maps along a flow, and mends them where they tear or show what was hidden."""
        assert self._before is not None
        x, y = positions(*cells.shape)
        x, y = x + flow[..., 0] / CELL, y + flow[..., 1] / CELL
        arrived = cv2.remap(self._before, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        differs = cv2.blur(cv2.absdiff(cells, arrived), (3, 3))
        inside = (x >= 0) & (x <= cells.shape[1] - 1) & (y >= 0) & (y <= cells.shape[0] - 1)
        seen = np.clip((HIDDEN - differs) / (HIDDEN - SEEN), 0, 1) * inside
        for place, offsets in enumerate(self._maps):
            carried = flow + cv2.remap(offsets, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            self._maps[place] = mended(carried, (seen * (stretch(carried) < TORN)).astype(np.float32))

    def _fade(self) -> None:
        """Lets a new map in where most of the old one is stretched too far, a little with each frame."""
        if len(self._maps) > 1:
            self._share += 1 / FADE
            if self._share >= 1:
                self._maps, self._share = self._maps[1:], 0.0
        elif (stretch(self._maps[0]) > STRETCHED).mean() > MOST:
            self._maps.append(np.zeros_like(self._maps[0]))

    def _drawn(self, height: int, width: int) -> np.ndarray:
        """Returns the noise at the positions of the maps, (height, width) float32."""
        noises = []
        for offsets in self._maps:
            fine = cv2.resize(offsets, None, fx=CELL, fy=CELL)[:height, :width]
            x, y = positions(height, width)
            noises.append(sampled(x + fine[..., 0], y + fine[..., 1]))
        if len(noises) == 1:
            return noises[0]
        turn = self._share * np.pi / 2  # the squares of both weights have the sum 1: so the deviation stays
        return np.float32(np.cos(turn)) * noises[0] + np.float32(np.sin(turn)) * noises[1]


def moves(flow: np.ndarray, cells: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Returns how far each cell moves in truth, 0 to 1, (rows, columns) float32: the flow of noise is no motion.

    Only what changes can be seen to move. But where the camera moves, flat walls and skies, which change little, move
    with it: there the flow is followed where it is one with the flow around it, which that of noise is not. Edges tell
    whether the camera moves: if it holds still, most of them do. A camera that shakes by less than a pixel leaves walls
    calm.

    Args:
        flow: (rows, columns, 2), pixels.
        cells: luma of the frame, (rows, columns), grey levels.
        before: the same of the frame before.
    """
    speed, change = np.hypot(flow[..., 0], flow[..., 1]), cv2.blur(cv2.absdiff(cells, before), (3, 3))
    seen = ramp(speed, SLOW, FAST) * ramp(change, CALM, BUSY)
    slopes = [cv2.Sobel(cells, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))]
    edges = ramp(np.hypot(*slopes), FAINT, CLEAR)
    camera = 1 - ramp((edges * (speed < SLOW)).sum() / max(edges.sum(), 1.0), PANS, STANDS)
    camera *= ramp(np.median(speed), SHAKES, GOES)
    mean, square = (cv2.blur(each, (AREA, AREA)) for each in (flow, np.square(speed)))
    one = ramp(np.square(mean).sum(-1) / (square + np.float32(1e-3)), MIXED, ONE)
    return cv2.blur(np.maximum(seen, camera * one).astype(np.float32), (3, 3))


def stretch(offsets: np.ndarray) -> np.ndarray:
    """Returns how much a map changes from pixel to pixel, as a share: 0 where it only shifts, (rows, columns) float32.

    Args:
        offsets: (rows, columns, 2), pixels.
    """
    slopes = [cv2.Sobel(offsets, cv2.CV_32F, *axes, scale=1 / 8 / CELL) for axes in ((1, 0), (0, 1))]
    squared = np.square(slopes[0]) + np.square(slopes[1])
    return np.sqrt(squared[..., 0] + squared[..., 1])


def mended(offsets: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Returns a map that is filled from its surroundings where it is not trusted.

    Args:
        offsets: (rows, columns, 2).
        trusted: (rows, columns), 1 where the map is right, 0 where it is not.
    """
    if trusted.min() == 1:
        return offsets
    trusted = cv2.blur(trusted, (3, 3))[..., None]
    weight, around = trusted + np.float32(1e-3), (AROUND, AROUND)
    filled = cv2.blur(cv2.blur(offsets * weight, around), around)
    filled /= cv2.blur(cv2.blur(weight, around), around)[..., None]
    return offsets + (filled - offsets) * (1 - trusted)
