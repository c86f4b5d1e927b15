"""The style pictures that ship, drawn by this code: four manners of painting, no painter's picture.

  python paintings/draw.py                 all four, 384 px, beside this file: the pictures that ship
  python paintings/draw.py picasso 1024    one of them at another size, in the current folder: picasso_1024.png

Everything is composed in unit coordinates (x to the right, y down, the picture is the unit square), drawn at twice the
size and averaged down, so that one seed gives one composition at any size. What style transfer takes from a picture is
its palette and its texture at the scale of brush strokes, so no region is left flat.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = 384  # pixels, of the pictures that ship: the default of style.size, so that training sees them as drawn
OVERSAMPLING = 2
SUBPIXEL_BITS = 4  # cv2 takes fixed-point coordinates; 4 bits place an edge to a sixteenth of a pixel

Color = tuple[int, int, int]
Point = Sequence[float] | np.ndarray


# Primitives: a canvas is a square uint8 RGB array; points are in unit coordinates.


def _fill(canvas: np.ndarray, polygon: np.ndarray, color: Sequence[float]) -> None:
    """Fills a polygon of shape (n, 2); cv2 paints half a pixel beyond its edge, so that small sizes look inkier."""
    points = np.round((polygon * len(canvas) - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(canvas, [points], [float(c) for c in color], cv2.LINE_AA, SUBPIXEL_BITS)


def _mask(side: int, polygon: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray]:
    """A box of pixels, (rows, columns), around a polygon, and the share of each pixel that the polygon covers."""
    low, high = (np.clip((p * side).astype(int), 0, side) for p in (polygon.min(0) - 0.01, polygon.max(0) + 0.01))
    mask = np.zeros((side, side), np.uint8)
    _fill(mask, polygon, (255,))
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    return box, mask[box][..., None] / np.float32(255)


def _blend(canvas: np.ndarray, box: tuple[slice, slice], alpha: np.ndarray, layer: np.ndarray) -> None:
    """Lays a layer over a box of the canvas, as opaque as alpha."""
    canvas[box] = np.round(canvas[box] * (1 - alpha) + layer * alpha).astype(np.uint8)


def _ribbon(path: np.ndarray, widths: np.ndarray | float) -> np.ndarray:
    """The outlines, shape (..., 2n, 2), of strokes along paths of shape (..., n, 2) with widths of shape (..., n)."""
    tangent = np.gradient(path, axis=-2)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[..., 1], tangent[..., 0]], -1)
    side = normal * np.broadcast_to(np.asarray(widths, float), path.shape[:-1])[..., None] / 2
    return np.concatenate([path + side, (path - side)[..., ::-1, :]], -2)


def _shift(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """Points of shape (..., 2) moved by x and y."""
    return points + np.array([x, y])


def _turn(vectors: np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    """Vectors of shape (..., 2) rotated by an angle in radians."""
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], -1)


def _strokes(
    canvas: np.ndarray,
    rng: np.random.Generator,
    centers: np.ndarray,
    angles: np.ndarray | float,
    length: np.ndarray | float,
    width: np.ndarray | float,
    colors: np.ndarray,
    bend: np.ndarray | float = 0.0,
    bristles: int = 4,
    streak: float = 10.0,
) -> None:
    """Brush strokes at centers (n, 2) in colors (n, 3): arcs that turn by `bend` radians, streaked by the bristles."""
    count = len(centers)
    angles, length, width, bend = (np.broadcast_to(v, (count,)) for v in (angles, length, width, bend))
    along = np.linspace(-0.5, 0.5, 6)
    heading = angles[:, None] + bend[:, None] * along
    steps = np.stack([np.cos(heading), np.sin(heading)], -1) * (length / (len(along) - 1))[:, None, None]
    spine = np.cumsum(steps, 1)
    spine += (centers - spine.mean(1))[:, None]
    normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
    profile = np.array([0.55, 0.95, 1.0, 1.0, 0.85, 0.35])
    lanes = (np.arange(bristles) + 0.5) / bristles - 0.5
    shift = rng.uniform(-0.12, 0.12, (count, bristles)) * length[:, None]
    tone = rng.normal(0, streak, (count, bristles, 1)) + rng.normal(0, streak / 3, (count, bristles, 3))
    shades = np.clip(colors[:, None] + tone, 0, 255)
    offsets = normal[:, None] * (lanes[None, :, None] * width[:, None, None] * profile)[..., None]
    slide = np.stack([np.cos(angles), np.sin(angles)], -1)[:, None] * shift[..., None]
    paths = spine[:, None] + offsets + slide[:, :, None]
    outlines = _ribbon(paths, 1.35 * width[:, None, None] / bristles * profile)
    for stroke, shade in zip(outlines, shades, strict=True):
        for outline, color in zip(stroke, shade, strict=True):
            _fill(canvas, outline, color)


def _noise(rng: np.random.Generator, cells: tuple[int, int], size: int) -> np.ndarray:
    """Smooth noise, shape (size, size), of about unit variance, with (rows, columns) of bumps."""
    return cv2.resize(rng.normal(0, 1.4, cells), (size, size), interpolation=cv2.INTER_CUBIC)


def _curve(*points: tuple[float, float], samples: int = 12) -> np.ndarray:
    """A smooth open curve (Catmull-Rom) through the points, shape (n, 2)."""
    p = np.array([points[0], *points, points[-1]], float)
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*pieces, p[-1:]])


def _arc(center: Point, radius: float, start: float = 0, stop: float = 360, samples: int = 40) -> np.ndarray:
    """Points of a circle's arc from angle `start` to `stop`, in degrees."""
    angle = np.radians(np.linspace(start, stop, samples))
    return center + radius * np.stack([np.cos(angle), np.sin(angle)], -1)


def _contour(
    canvas: np.ndarray, rng: np.random.Generator, path: np.ndarray, width: float, color: Color, broken: float = 0.25
) -> None:
    """A drawn line: it swells, thins, wavers, and a share `broken` of it is missing."""
    step = np.linalg.norm(np.diff(path, axis=0), axis=1)
    length = step.sum()
    at = np.concatenate([[0], np.cumsum(step)])
    samples = max(8, int(length / 0.006))
    s = np.linspace(0, length, samples)
    line = np.stack([np.interp(s, at, path[:, i]) for i in (0, 1)], -1)
    phase = rng.uniform(0, 2 * np.pi, 3)
    swell = 0.65 + 0.35 * np.sin(s * 17 + phase[0]) + 0.2 * np.sin(s * 53 + phase[1])
    gap = np.sin(s * 31 + phase[2]) * 0.5 + 0.5 < broken
    for run in np.split(np.arange(samples), np.flatnonzero(np.diff(gap.astype(int))) + 1):
        if not gap[run[0]] and len(run) > 2:
            ends = np.clip(np.minimum(np.arange(len(run)), np.arange(len(run))[::-1]) / 3, 0.15, 1)
            _fill(canvas, _ribbon(line[run], width * np.abs(swell[run]) * ends), color)


def _ink(canvas: np.ndarray, path: np.ndarray, width: float, color: Color, head: float = 0.0) -> None:
    """One stroke of a pointed ink brush: thick in the middle, pointed at its end, `head` of its width at its start."""
    t = np.linspace(0, 1, len(path))
    _fill(canvas, _ribbon(path, width * np.maximum(np.sin(np.pi * t) ** 0.7, head * (1 - t))), color)


def _between(first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """Curves, shape (count, n, 2), that lead over from the first to the last."""
    t = np.linspace(0, 1, count)[:, None, None]
    return (1 - t) * first + t * last


def _facet(
    canvas: np.ndarray,
    rng: np.random.Generator,
    polygon: np.ndarray,
    dark: Sequence[float],
    light: Sequence[float],
    *,
    toward: float,
    grain: float,
    fade: float = 0.0,
    size: float = 0.012,
) -> None:
    """A plane of brush strokes inside a polygon.

    Shaded from dark to light in the direction `toward`, brushed along `grain` (radians). The light side dissolves into
    what lies beneath by the share `fade` (the cubists' passage).
    """
    low, high = polygon.min(0), polygon.max(0)
    count = int(1.6 * np.prod(high - low) / (size * size * 4.2)) + 6
    centers = rng.uniform(low, high, (count, 2))
    direction = np.array([np.cos(toward), np.sin(toward)])
    reach = polygon @ direction
    shade = np.clip((centers @ direction - reach.min()) / (np.ptp(reach) + 1e-9), 0, 1)
    keep = rng.uniform(size=count) > fade * np.clip(shade * 1.6 - 0.4, 0, 1)
    shade = np.clip(shade + rng.normal(0, 0.10, count), 0, 1)[:, None]
    colors = (1 - shade) * np.asarray(dark, float) + shade * np.asarray(light, float) + rng.normal(0, 7, (count, 1))
    angles = grain + rng.normal(0, 0.10, count)
    length = size * rng.uniform(3.0, 5.5, count)

    layer = canvas.copy()
    if fade < 0.3:
        _fill(layer, polygon, np.mean([dark, light], 0))
    _strokes(layer, rng, centers[keep], angles[keep], length[keep], size, colors[keep], bristles=3)
    box, alpha = _mask(len(canvas), polygon)
    _blend(canvas, box, alpha, layer[box])


# Cubism

OCHRE, PALE_OCHRE, SAND = (190, 142, 72), (222, 186, 122), (206, 176, 132)
UMBER, DARK_UMBER, BLACK = (104, 74, 46), (58, 42, 30), (22, 20, 20)
GREY, PALE_GREY, OFF_WHITE = (136, 132, 122), (182, 178, 166), (238, 230, 210)
COLD_BLUE, DEEP_BLUE, PALE_BLUE = (96, 124, 148), (44, 62, 86), (150, 172, 184)
TERRACOTTA, RUST = (182, 88, 54), (124, 58, 36)
PLANES: tuple[tuple[Color, Color], ...] = (
    (DARK_UMBER, OCHRE),
    (UMBER, PALE_OCHRE),
    (DARK_UMBER, GREY),
    (DEEP_BLUE, PALE_BLUE),
    (UMBER, SAND),
    (GREY, OFF_WHITE),
    (BLACK, UMBER),
    (COLD_BLUE, PALE_GREY),
    (OCHRE, OFF_WHITE),
    (DEEP_BLUE, GREY),
)


def _split(rng: np.random.Generator, polygon: np.ndarray, axes: np.ndarray, smallest: float) -> list[np.ndarray]:
    """Cuts a convex polygon along a few favoured directions until its pieces are of the wanted size."""
    x, y = polygon.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    if area < smallest * rng.uniform(1, 3):
        return [polygon]
    angle = rng.choice(axes) + rng.normal(0, 0.07)
    normal = np.array([-np.sin(angle), np.cos(angle)])
    weights = rng.dirichlet(np.ones(len(polygon)) * 3)
    side = (polygon - weights @ polygon) @ normal
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for a, b, da, db in zip(polygon, np.roll(polygon, -1, 0), side, np.roll(side, -1), strict=True):
        halves[int(da > 0)].append(a)
        if (da > 0) != (db > 0):
            crossing = a + (b - a) * da / (da - db)
            halves[0].append(crossing)
            halves[1].append(crossing)
    return [piece for half in halves if len(half) > 2 for piece in _split(rng, np.array(half), axes, smallest)]


def _picasso(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """A seated figure with a guitar, a bottle at the left, broken into planes."""
    axes = np.radians([62, 118, 18, 158, 84])

    def plane(points, dark, light, toward, grain, fade=0.0, size=0.010, line=0.0065):
        """One facet, its directions in degrees, and its broken outline."""
        polygon = np.asarray(points, float)
        _facet(
            canvas, rng, polygon, dark, light, toward=np.radians(toward), grain=np.radians(grain), fade=fade, size=size
        )
        if line:
            _contour(canvas, rng, np.concatenate([polygon, polygon[:1]]), line, BLACK, broken=0.3)

    def line(points, width=0.006, color=BLACK, broken=0.12):
        _contour(canvas, rng, np.asarray(points, float), width, color, broken)

    # The ground: planes everywhere, darker to the corners, the light gathered on a pyramid in the middle.
    for cell in _split(rng, np.array([[-0.02, -0.02], [1.02, -0.02], [1.02, 1.02], [-0.02, 1.02]]), axes, 0.0062):
        x, y = cell.mean(0)
        gain = 0.66 + 0.45 * np.exp(-(((x - 0.5) / (0.2 + 0.3 * y)) ** 2))
        dark, light = (gain * np.array(c) for c in PLANES[rng.integers(len(PLANES))])
        toward = rng.choice(axes) + rng.choice([-1, 1]) * np.pi / 2
        brush = rng.uniform(0.008, 0.014)
        _facet(canvas, rng, cell, dark, np.minimum(light, 245), toward=toward, grain=rng.choice(axes), size=brush)
        _contour(canvas, rng, np.concatenate([cell, cell[:1]]), 0.0055, BLACK, broken=0.45)
        if rng.uniform() < 0.45:  # hatched from one edge towards another
            ink = (BLACK, DARK_UMBER, OFF_WHITE)[rng.integers(3)]
            for t in np.linspace(0.08, 0.92, int(4 + 45 * np.linalg.norm(cell[0] - cell[1]))):
                near, far = cell[0] + t * (cell[1] - cell[0]), cell[-1] + t * (cell[-2] - cell[-1])
                line([near + 0.06 * (far - near), near + rng.uniform(0.35, 0.8) * (far - near)], 0.0035, ink, 0.15)

    # Passage: small planes that dissolve into their neighbours, and ruled lines that run on across them.
    for _ in range(60):
        center = rng.uniform(0.03, 0.97, 2)
        angle = rng.choice(axes)
        corners = _turn(np.array([(-1, -0.5), (1, -0.6), (0.8, 0.5), (-0.9, 0.4)]) * rng.uniform(0.02, 0.055, 2), angle)
        dark, light = PLANES[rng.integers(len(PLANES))]
        toward = np.degrees(angle) + rng.choice([0, 90, 180, 270])
        plane(center + corners, dark, light, toward, np.degrees(rng.choice(axes)), 0.9, rng.uniform(0.006, 0.010), 0)
        line(center + corners[rng.permutation(4)[:3]], 0.005, BLACK, 0.2)
    for _ in range(26):
        start, angle = rng.uniform(0.05, 0.95, 2), rng.choice(axes)
        reach = rng.uniform(0.06, 0.16) * np.array([np.cos(angle), np.sin(angle)])
        line([start - reach, start + reach], 0.005, BLACK if rng.uniform() < 0.75 else OFF_WHITE, 0.3)

    # The table, its cloth, and a sheet of newspaper.
    plane([(-0.02, 0.86), (0.36, 0.80), (0.42, 1.02), (-0.02, 1.02)], RUST, TERRACOTTA, -40, 172, size=0.012)
    plane([(-0.02, 0.93), (0.16, 0.90), (0.34, 1.02), (-0.02, 1.02)], BLACK, RUST, -60, 35)
    plane([(0.27, 0.815), (0.36, 0.80), (0.42, 1.02), (0.33, 1.02)], UMBER, OCHRE, 180, 80)
    plane([(0.60, 0.84), (1.02, 0.78), (1.02, 0.90), (0.66, 1.02)], DARK_UMBER, OCHRE, 20, 168)
    plane([(0.66, 1.02), (0.80, 0.90), (1.02, 0.86), (1.02, 1.02)], DEEP_BLUE, PALE_GREY, 200, 110)
    for i in range(13):  # the table's wood grain
        x = np.linspace(0.64, 0.99, 40)
        y = 0.83 + 0.0125 * i - 0.12 * (x - 0.6) + 0.006 * np.sin(15 * x + 0.5 * i)
        line(np.stack([x, y], -1), 0.004, (DARK_UMBER, RUST, BLACK)[i % 3], 0.4)
    plane([(0.36, 0.86), (0.62, 0.82), (0.68, 1.02), (0.40, 1.02)], GREY, OFF_WHITE, 60, 80)
    for i in range(9):  # newsprint
        for column in range(2):
            left, top = 0.386 + 0.130 * column + 0.004 * i, 0.878 + 0.0165 * i - 0.02 * column
            for end in np.cumsum(rng.uniform(0.010, 0.030, 6)):
                if end < 0.112:
                    word = np.array([(left + end - 0.009, top - 0.13 * end), (left + end, top - 0.13 * end - 0.001)])
                    _fill(canvas, _ribbon(word, 0.0055), BLACK)

    # The bottle, seen from the side and from above at once.
    plane([(0.10, 0.62), (0.175, 0.60), (0.19, 0.90), (0.09, 0.92)], BLACK, COLD_BLUE, 10, 95)
    plane([(0.175, 0.585), (0.25, 0.61), (0.26, 0.88), (0.19, 0.90)], DEEP_BLUE, PALE_GREY, 180, 80)
    plane([(0.145, 0.44), (0.18, 0.435), (0.18, 0.61), (0.10, 0.64)], DEEP_BLUE, PALE_BLUE, 0, 90)
    plane([(0.18, 0.45), (0.215, 0.45), (0.25, 0.62), (0.18, 0.60)], BLACK, GREY, 180, 80)
    plane([(0.11, 0.71), (0.245, 0.69), (0.25, 0.79), (0.105, 0.81)], SAND, OFF_WHITE, 30, 170)
    for row in (0.725, 0.748, 0.771):
        line([(0.125, row + 0.012), (0.235, row - 0.004)], 0.006, BLACK, 0.35)
    line(_arc((0.18, 0.44), 0.036, 150, 390), 0.006)
    line(_arc((0.175, 0.90), 0.085, 10, 175), 0.006)

    # Shoulders, arms and chest, as planes that slide over each other.
    plane([(0.30, 0.46), (0.47, 0.36), (0.50, 0.62), (0.36, 0.66)], UMBER, PALE_OCHRE, -20, 110)
    plane([(0.47, 0.36), (0.60, 0.35), (0.66, 0.60), (0.50, 0.62)], DEEP_BLUE, PALE_BLUE, 150, 70)
    jacket = _curve((0.60, 0.36), (0.74, 0.39), (0.82, 0.50), (0.84, 0.68), (0.70, 0.66), (0.64, 0.50))
    plane(jacket, BLACK, GREY, -160, 60)
    plane([(0.72, 0.40), (0.82, 0.46), (0.90, 0.80), (0.77, 0.86)], DARK_UMBER, OCHRE, 170, 75)
    plane(_curve((0.31, 0.45), (0.24, 0.52), (0.25, 0.62), (0.36, 0.68), (0.38, 0.55)), UMBER, SAND, -30, 60)
    plane([(0.46, 0.30), (0.55, 0.30), (0.58, 0.41), (0.50, 0.47), (0.43, 0.40)], OCHRE, OFF_WHITE, 200, 95)
    plane([(0.50, 0.33), (0.55, 0.30), (0.58, 0.41), (0.50, 0.47)], DARK_UMBER, OCHRE, 20, 80)
    plane([(0.33, 0.45), (0.43, 0.40), (0.40, 0.54)], DARK_UMBER, OCHRE, 20, 150)
    plane([(0.43, 0.44), (0.495, 0.47), (0.49, 0.57), (0.42, 0.52)], OCHRE, OFF_WHITE, 70, 30)
    plane([(0.58, 0.37), (0.615, 0.37), (0.66, 0.59), (0.585, 0.52)], OCHRE, PALE_OCHRE, 90, 75)
    plane(_curve((0.625, 0.375), (0.69, 0.41), (0.71, 0.50), (0.68, 0.59)), GREY, OFF_WHITE, 200, 45)
    plane([(0.50, 0.48), (0.56, 0.43), (0.565, 0.51), (0.53, 0.55)], BLACK, COLD_BLUE, -80, 10)
    for i in range(8):  # hatching on the jacket and the waistcoat
        line([(0.70 + 0.004 * i, 0.42 + 0.02 * i), (0.745 + 0.001 * i, 0.435 + 0.02 * i)], 0.004, OFF_WHITE, 0.1)
        line([(0.505 + 0.003 * i, 0.53 + 0.004 * i), (0.60 + 0.004 * i, 0.51 + 0.008 * i)], 0.0035, BLACK, 0.2)
    for i in range(4):  # a sleeve of lozenges
        for j in range(2):
            center = np.array([0.775 + 0.042 * j + 0.012 * i, 0.53 + 0.075 * i - 0.01 * j + 0.037 * (j % 2)])
            lozenge = center + np.array([(0, -0.038), (0.021, 0), (0, 0.038), (-0.021, 0)])
            plane(lozenge, *((RUST, TERRACOTTA), (DEEP_BLUE, COLD_BLUE))[(i + j) % 2], 60, 60, size=0.007, line=0.004)

    # The head: hair, a face from the front and its profile together.
    hair = _curve((0.39, 0.24), (0.38, 0.12), (0.46, 0.05), (0.57, 0.05), (0.63, 0.13), (0.62, 0.25))
    plane(hair, BLACK, UMBER, 30, 70)
    plane([(0.43, 0.12), (0.50, 0.09), (0.505, 0.31), (0.46, 0.30), (0.42, 0.22)], OCHRE, OFF_WHITE, 190, 105)
    profile = [(0.50, 0.09), (0.57, 0.10), (0.60, 0.17), (0.585, 0.26), (0.535, 0.32), (0.505, 0.31)]
    plane(profile, DEEP_BLUE, PALE_BLUE, 200, 70)
    plane([(0.505, 0.11), (0.53, 0.16), (0.555, 0.235), (0.50, 0.245)], DARK_UMBER, PALE_OCHRE, 200, 60)
    plane([(0.42, 0.22), (0.47, 0.235), (0.46, 0.30)], RUST, TERRACOTTA, 180, 120, line=0.004)
    plane([(0.60, 0.14), (0.645, 0.17), (0.63, 0.235), (0.592, 0.235)], UMBER, SAND, 0, 80)
    line(_arc((0.617, 0.19), 0.022, -110, 130), 0.005)
    for (x, y), width in (((0.463, 0.184), 0.030), ((0.563, 0.158), 0.024)):
        lid = _curve((x - width, y + 0.004), (x, y - 0.014), (x + width, y + 0.002))
        under = _curve((x + width, y + 0.002), (x, y + 0.013), (x - width, y + 0.004))
        _fill(canvas, np.concatenate([lid, under]), OFF_WHITE)
        _fill(canvas, _arc((x + 0.004, y), 0.010), BLACK)
        line(lid, 0.007, broken=0)
        line(under, 0.004, broken=0.1)
        line(_shift(lid, 0, -0.022), 0.009, BLACK, 0)
    line([(0.50, 0.085), (0.508, 0.16), (0.556, 0.236), (0.50, 0.247)], 0.007, broken=0)
    mouth = _curve((0.472, 0.274), (0.50, 0.266), (0.535, 0.276), (0.502, 0.29))
    plane(mouth, RUST, TERRACOTTA, 90, 0, size=0.006, line=0)
    line(_curve((0.468, 0.275), (0.50, 0.277), (0.54, 0.275)), 0.005, broken=0)
    plane([(0.46, 0.103), (0.50, 0.09), (0.502, 0.15)], UMBER, OCHRE, -90, 30, size=0.008, line=0.004)
    for i in range(7):  # the shaded cheek
        line([(0.565 - 0.002 * i, 0.205 + 0.013 * i), (0.590 - 0.006 * i, 0.197 + 0.013 * i)], 0.0035, BLACK, 0)
    for i in range(7):  # combed hair
        line(_arc((0.50, 0.23), 0.115 + 0.011 * i, 198 + 3 * i, 262 - 2 * i), 0.0035, SAND if i % 2 else BLACK, 0.15)

    # The guitar: its two halves slipped along each other, the sound hole cut in two with them.
    origin, axis = np.array([0.545, 0.665]), np.radians(205)

    def guitar(*points, slip=0.0):
        return origin + _turn(_shift(np.array(points), slip, 0), axis)

    half = _curve(
        (-0.24, 0), (-0.225, 0.09), (-0.15, 0.148), (-0.06, 0.128), (0.0, 0.09), (0.06, 0.098), (0.125, 0.098),
        (0.16, 0.05), (0.165, 0),
    )  # fmt: skip
    mirrored = half * (1, -1)
    plane(guitar(*half, slip=-0.03), UMBER, PALE_OCHRE, 80, 25, size=0.009, line=0.010)
    for i in range(11):  # wood grain on one half
        v = 0.012 + 0.011 * i
        grain = [(u, v + 0.004 * np.sin(20 * u + 0.6 * i)) for u in np.linspace(-0.21, 0.08, 30)]
        line(guitar(*grain, slip=-0.03), 0.003, RUST if i % 3 else DARK_UMBER, 0.3)
    plane(guitar(*mirrored, slip=0.025), DEEP_BLUE, PALE_GREY, -100, 110, size=0.010, line=0.010)
    sheen = guitar((-0.19, -0.02), (0.0, -0.01), (-0.02, -0.085), (-0.17, -0.13))
    plane(sheen, OCHRE, OFF_WHITE, -60, 25, fade=0.6, line=0)
    line(guitar(*(mirrored * 0.93), slip=0.02), 0.004, DARK_UMBER, 0.3)
    line(guitar(*(half * 0.93), slip=-0.032), 0.004, DARK_UMBER, 0.3)
    for radius, color in ((0.062, DARK_UMBER), (0.054, OFF_WHITE), (0.047, BLACK)):
        _fill(canvas, guitar(*_arc((-0.01, 0), radius, 0, 180)), color)
        _fill(canvas, guitar(*_arc((0.025, 0), radius * 0.92, 180, 360)), color)
    plane(guitar(*_arc((-0.01, 0), 0.043, 0, 180)), BLACK, UMBER, 80, 25, size=0.007, line=0)
    plane(guitar(*_arc((0.025, 0), 0.039, 180, 360)), BLACK, DEEP_BLUE, -90, 25, size=0.007, line=0)
    plane(guitar((0.06, -0.026), (0.42, -0.022), (0.42, 0.001), (0.06, 0.003)), BLACK, UMBER, 30, 25, size=0.007)
    plane(guitar((0.06, 0.003), (0.40, 0.001), (0.40, 0.022), (0.06, 0.026)), RUST, OCHRE, 30, 25, size=0.007)
    plane(guitar((0.40, -0.034), (0.50, -0.042), (0.51, 0.03), (0.40, 0.03)), UMBER, PALE_OCHRE, 200, 115, size=0.008)
    for i in range(3):
        for v in (-0.052, 0.044):
            peg = guitar(*_arc((0.425 + 0.03 * i, v), 0.012))
            _fill(canvas, peg, OFF_WHITE)
            line(peg, 0.005, broken=0)
    for u in np.linspace(0.10, 0.39, 8):
        line(guitar((u, -0.026), (u, 0.026)), 0.004, PALE_GREY, 0)
    bridge = guitar((-0.165, -0.055), (-0.14, -0.055), (-0.14, 0.055), (-0.165, 0.055))
    plane(bridge, BLACK, DARK_UMBER, 0, 115, size=0.006)
    for v in np.linspace(-0.019, 0.019, 5):
        line(guitar((-0.15, v * 1.7), (0.47, v + 0.0025)), 0.0035, BLACK, 0)
        line(guitar((-0.15, v * 1.7 - 0.003), (0.47, v)), 0.003, OFF_WHITE, 0.08)

    # A hand on the strings and one on the neck: fingers as wedges.
    for i in range(4):
        base, tip = np.array([0.755 - 0.004 * i, 0.66 + 0.028 * i]), np.array([0.645 - 0.006 * i, 0.675 + 0.024 * i])
        wedge = _ribbon(np.array([base, (base + tip) / 2 + (0, -0.012), tip]), np.array([0.03, 0.026, 0.014]))
        plane(wedge, UMBER if i % 2 else OCHRE, OFF_WHITE if i % 2 else PALE_OCHRE, -80, 175, size=0.007)
        base, tip = np.array([0.285 + 0.026 * i, 0.575 + 0.016 * i]), np.array([0.275 + 0.027 * i, 0.50 + 0.018 * i])
        wedge = _ribbon(np.array([base, (base + tip) / 2 + (0.008, 0), tip]), np.array([0.026, 0.024, 0.012]))
        plane(wedge, RUST if i % 2 else OCHRE, PALE_OCHRE if i % 2 else OFF_WHITE, 180, 85, size=0.007)


# Pop art

INK, PAPER = (14, 14, 18), (250, 246, 236)
RED, YELLOW, BLUE = (222, 28, 36), (252, 212, 22), (18, 74, 172)


def _dots(
    canvas: np.ndarray, polygon: np.ndarray, color: Color, paper: Color, pitch: float, angle: float, share: float
) -> None:
    """Fills a polygon with Ben-Day dots on a grid turned by `angle` degrees; dots take a diameter of share * pitch."""
    side = len(canvas)
    box, alpha = _mask(side, polygon)
    row, column = np.mgrid[box]
    grid = _turn(np.stack([column, row], -1) + 0.5, np.radians(angle)) / side / pitch
    distance = np.linalg.norm(grid - np.round(grid), axis=-1)
    dot = np.clip((share / 2 - distance) * pitch * side + 0.5, 0, 1)[..., None]
    _blend(canvas, box, alpha, np.array(paper) * (1 - dot) + np.array(color) * dot)


def _star(rng: np.random.Generator, center: Point, outer: float, inner: float, points: int) -> np.ndarray:
    """A ragged star, as explosions in comics have."""
    angle = np.arange(2 * points) * np.pi / points + rng.normal(0, 0.05, 2 * points)
    radius = np.where(np.arange(2 * points) % 2, inner, outer) * rng.uniform(0.82, 1.15, 2 * points)
    return center + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _liechtenstein(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """A weeping heroine, an explosion behind her, a wave before her, and a word balloon."""

    def outline(points, width=0.011):
        _contour(canvas, rng, np.concatenate([points, points[:2]]), width, INK, broken=0)

    def ink(path, width, color=INK, head=0.0):
        _ink(canvas, path, width, color, head)

    def shape(points, color, width=0.011):
        points = np.asarray(points, float)
        _fill(canvas, points, color)
        outline(points, width)

    def dotted(points, color, paper, pitch, angle, share, width=0.011):
        _dots(canvas, np.asarray(points, float), color, paper, pitch, angle, share)
        if width:
            outline(np.asarray(points, float), width)

    # The sky in dots of two densities, with speed lines out of the explosion.
    square = np.array([(-0.05, -0.05), (1.05, -0.05), (1.05, 1.05), (-0.05, 1.05)])
    _dots(canvas, square, BLUE, PAPER, 0.026, 45, 0.72)
    dotted([(0.52, -0.05), (1.05, -0.05), (1.05, 0.62), (0.80, 0.30)], RED, YELLOW, 0.021, 45, 0.62)
    burst = np.array([0.25, 0.25])
    for i in range(54):
        angle = 2 * np.pi * (i + rng.uniform(-0.3, 0.3)) / 54
        ray = np.array([np.cos(angle), np.sin(angle)])
        path = burst + np.linspace(0.85, rng.uniform(0.26, 0.33), 12)[:, None] * ray
        _fill(canvas, _ribbon(path, np.linspace(0.013, 0.001, 12) * rng.uniform(0.5, 1.3)), INK)
    shape(_star(rng, burst, 0.30, 0.20, 15), RED, 0.012)
    shape(_star(rng, burst, 0.235, 0.15, 15), YELLOW, 0.012)
    dotted(_star(rng, burst, 0.165, 0.10, 12), RED, YELLOW, 0.017, 30, 0.6, 0.009)
    shape(_star(rng, burst, 0.10, 0.055, 11), PAPER, 0.009)
    for i in range(15):
        angle = 2 * np.pi * i / 15 + 0.2
        ray = np.array([np.cos(angle), np.sin(angle)])
        ink(burst + np.linspace(0.15, 0.225, 8)[:, None] * ray, 0.010, RED)
        ink(burst + np.linspace(0.02, 0.07, 8)[:, None] * ray, 0.008)
    puffs = ((0.03, 0.45, 0.09), (0.13, 0.49, 0.07), (0.44, 0.05, 0.08), (0.52, 0.03, 0.06), (0.03, 0.04, 0.07))
    for x, y, radius in puffs:
        turn = np.linspace(0, 2 * np.pi, 90)
        puff = radius * (0.86 + 0.16 * np.abs(np.sin(3.5 * turn)))
        cloud = np.stack([x + puff * np.cos(turn), y + puff * np.sin(turn)], -1)
        shape(cloud, PAPER)
        _dots(canvas, (cloud - (x, y)) * 0.72 + (x + 0.014, y + 0.018), INK, PAPER, 0.014, 20, 0.5)

    # Hair: a mass of yellow, its locks drawn as strands between two guides.
    hair = _curve(
        (0.44, 0.70), (0.40, 0.52), (0.43, 0.30), (0.54, 0.15), (0.70, 0.09), (0.86, 0.14), (0.94, 0.32), (0.93, 0.52),
        (0.98, 0.68), (0.94, 0.86), (0.78, 0.88), (0.60, 0.86), (0.44, 0.70),
    )  # fmt: skip
    shape(hair, YELLOW, 0.014)
    left = _curve((0.66, 0.11), (0.46, 0.28), (0.42, 0.52), (0.50, 0.80))
    left_inner = _curve((0.68, 0.20), (0.53, 0.32), (0.49, 0.50), (0.57, 0.76))
    right = _curve((0.68, 0.10), (0.90, 0.20), (0.91, 0.52), (0.96, 0.84))
    right_inner = _curve((0.68, 0.20), (0.79, 0.32), (0.79, 0.56), (0.76, 0.86))
    for first, last, count in ((left, left_inner, 8), (right, right_inner, 12)):
        for i, strand in enumerate(_between(first, last, count)):
            ink(strand + rng.normal(0, 0.004, 2), 0.016 * rng.uniform(0.4, 1.2), INK if i % 3 else RED)

    # Neck and face in flesh dots.
    neck = _curve((0.56, 0.66), (0.57, 0.78), (0.54, 0.90), (0.80, 0.92), (0.735, 0.78), (0.74, 0.64))
    dotted(neck, RED, PAPER, 0.0155, 45, 0.66)
    face = _curve(
        (0.505, 0.34), (0.492, 0.48), (0.52, 0.61), (0.575, 0.69), (0.63, 0.725), (0.70, 0.68), (0.765, 0.59),
        (0.79, 0.46), (0.775, 0.32), (0.66, 0.22), (0.55, 0.25), (0.505, 0.34),
    )  # fmt: skip
    dotted(face, RED, PAPER, 0.0155, 45, 0.55, 0.013)
    for (x, y), turn in (((0.572, 0.462), 0.10), ((0.712, 0.452), -0.06)):

        def eye(*points, x=x, y=y, turn=turn):
            return _shift(_turn(np.array(points), turn), x, y)

        lid = eye(*_curve((-0.058, 0.016), (-0.02, -0.022), (0.022, -0.022), (0.058, 0.006)))
        under = eye(*_curve((0.058, 0.006), (0.01, 0.026), (-0.03, 0.024), (-0.058, 0.016)))
        shape(np.concatenate([lid, under]), PAPER, 0.006)
        shape(eye(*_arc((0, 0.001), 0.0225)), BLUE, 0.006)
        _fill(canvas, eye(*_arc((0, 0.001), 0.011)), INK)
        _fill(canvas, eye(*_arc((0.007, -0.007), 0.006)), PAPER)
        ink(lid, 0.020)
        for t in (3, 9, 15, 21, 27, 33):
            root = lid[t]
            ink(np.linspace(root, _shift(root, (root[0] - x) * 0.5, -0.026), 6), 0.009, head=1)
        ink(eye(*_curve((-0.06, -0.040), (-0.01, -0.072), (0.035, -0.066), (0.066, -0.040))), 0.018)
        tear = _curve((-0.01, 0.028), (0.012, 0.070), (0.0, 0.098), (-0.018, 0.092), (-0.022, 0.068), (-0.01, 0.028))
        shape(eye(*tear), PAPER, 0.007)
        ink(eye(*_curve((0.0, 0.062), (0.002, 0.078), (-0.004, 0.088))), 0.007, BLUE)
    ink(_curve((0.645, 0.46), (0.648, 0.51), (0.668, 0.553), (0.645, 0.566)), 0.010)
    ink(_curve((0.612, 0.560), (0.606, 0.572), (0.622, 0.574)), 0.008)
    lips = _curve(
        (0.572, 0.630), (0.608, 0.608), (0.632, 0.616), (0.655, 0.606), (0.695, 0.626), (0.668, 0.658), (0.632, 0.668),
        (0.600, 0.658), (0.572, 0.630),
    )  # fmt: skip
    shape(lips, RED, 0.008)
    shape(_curve((0.590, 0.630), (0.632, 0.627), (0.678, 0.627), (0.632, 0.642), (0.590, 0.630)), PAPER, 0.005)
    ink(_curve((0.615, 0.654), (0.632, 0.659), (0.655, 0.652)), 0.006, PAPER)

    # The fringe over the forehead.
    sweep = _curve((0.70, 0.19), (0.58, 0.20), (0.49, 0.30), (0.47, 0.46))
    brow = _curve((0.53, 0.37), (0.60, 0.31), (0.70, 0.28), (0.80, 0.42))
    fringe = np.concatenate([sweep, brow, _curve((0.81, 0.33), (0.77, 0.23), (0.70, 0.19))])
    shape(fringe, YELLOW, 0.012)
    for first, last in (
        (_curve((0.69, 0.20), (0.57, 0.22), (0.48, 0.42)), _curve((0.72, 0.25), (0.62, 0.27), (0.54, 0.35))),
        (_curve((0.70, 0.20), (0.77, 0.26), (0.80, 0.40)), _curve((0.68, 0.22), (0.73, 0.27), (0.77, 0.36))),
    ):
        for i, strand in enumerate(_between(first, last, 5)):
            ink(strand, 0.011 * rng.uniform(0.5, 1.2), INK if i % 2 else RED)

    # The word balloon, its words as an inker's squiggles.
    turn = np.linspace(0.24 * np.pi, 2.09 * np.pi, 80)
    balloon = np.stack([0.20 + 0.185 * np.cos(turn), 0.625 + 0.10 * np.sin(turn)], -1)
    shape(np.concatenate([balloon, [(0.485, 0.685)]]), PAPER, 0.012)
    for i, (left, right) in enumerate(((0.11, 0.29), (0.07, 0.33), (0.07, 0.33), (0.12, 0.27))):
        y, x = 0.565 + 0.04 * i, left
        while x < right:
            x += rng.uniform(0.012, 0.02)
            lean = rng.uniform(-0.006, 0.006)
            _fill(canvas, _ribbon(np.array([(x, y - 0.012), (x + lean, y + 0.012)]), 0.0075), INK)
            _fill(canvas, _ribbon(np.array([(x, y + rng.choice([-0.01, 0, 0.01])), (x + 0.011, y)]), 0.006), INK)

    # The wave: bodies of blue, white and black stripes between two guides, foam in front.
    crest = _curve(
        (-0.05, 0.80), (0.10, 0.745), (0.24, 0.80), (0.36, 0.90), (0.52, 0.86), (0.70, 0.80), (0.86, 0.83), (1.05, 0.74)
    )  # fmt: skip
    foot = _curve(
        (-0.05, 1.10), (0.10, 1.08), (0.24, 1.06), (0.36, 1.10), (0.52, 1.06), (0.70, 1.08), (0.86, 1.06), (1.05, 1.10)
    )  # fmt: skip
    _dots(canvas, np.concatenate([crest, foot[::-1]]), BLUE, PAPER, 0.019, 45, 0.8)
    bands = _between(crest, foot, 13)
    for i in range(0, 12, 2):
        bands[i + 1, :, 1] += 0.010 * np.sin(np.linspace(0, 18, bands.shape[1]) + i)
        _fill(canvas, np.concatenate([bands[i], bands[i + 1][::-1]]), (PAPER, BLUE, INK)[(i // 2) % 3])
        _contour(canvas, rng, bands[i], 0.013, INK, broken=0)
        _contour(canvas, rng, bands[i + 1], 0.009, INK, broken=0)
    foam = _shift(crest, 0, -0.012)
    for i in range(0, len(foam) - 1, 3):
        radius = rng.uniform(0.014, 0.030)
        _fill(canvas, _arc(foam[i], radius), INK)
        _fill(canvas, _arc(foam[i] + (0.003, 0.004), radius - 0.004, 0, 360), PAPER)
    for _ in range(45):
        x, y, radius = rng.uniform(0, 1), rng.uniform(0.72, 0.98), rng.choice([0.006, 0.009, 0.013])
        _fill(canvas, _arc((x, y), radius + 0.004), INK)
        _fill(canvas, _arc((x + 0.001, y + 0.001), radius), PAPER)


# Woodblock print

INDIGO, PRUSSIAN, SEA = (22, 34, 66), (28, 62, 112), (66, 112, 156)
PALE_SEA, SHELL, WASHI = (152, 184, 196), (240, 232, 210), (226, 206, 166)
SUN, DUSK = (196, 78, 52), (112, 138, 152)


def _claws(rng: np.random.Generator, root: np.ndarray, angle: float, length: float, hook: float, depth: int) -> list:
    """The outlines of a hooked finger of foam and of the smaller fingers that grow on it, `depth` generations."""
    heading = angle + hook * np.linspace(0, 1.5, 12) ** 1.5
    path = root + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), 0) * length / 12
    outlines = [_ribbon(path, length * np.linspace(0.36, 0.07, 12))]
    outlines += [_arc(root, length * 0.19, 0, 360, 24), _arc(path[-1], length * 0.075, 0, 360, 16)]
    if depth:
        for at, turn in ((2, -0.9), (4, 0.7), (6, -0.8), (8, 0.8), (10, -0.7)):
            spread = turn + rng.normal(0, 0.15)
            outlines += _claws(rng, path[at], heading[at] + spread, length * rng.uniform(0.38, 0.5), hook, depth - 1)
    return outlines


def _print_foam(canvas: np.ndarray, outlines: list, line: float) -> None:
    """Foam as one white shape with one dark contour around all of it, shaded a little inside."""
    for outline in outlines:
        closed = np.concatenate([outline, outline[:1]])
        _fill(canvas, _ribbon(closed, 2 * line), INDIGO)
        _fill(canvas, outline, INDIGO)
    for outline in outlines:
        _fill(canvas, outline, SHELL)


def _wave(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """A wave that breaks to the left over smaller swells, a low sun behind it."""
    side = len(canvas)

    def key(path, width=0.006, color=INDIGO):
        _contour(canvas, rng, path, width, color, broken=0)

    def body(first, last, count, colors, width=0.004):
        """Stripes of water that follow the curves from the first to the last."""
        bands = _between(first, last, count + 1)
        for i in range(count):
            _fill(canvas, np.concatenate([bands[i], bands[i + 1][::-1]]), colors[i % len(colors)])
        for i in range(count + 1):
            key(bands[i], width)

    # The sky: washed from dusk to paper, banks of mist as bundles of lines, the sun behind them.
    down = np.linspace(0, 1, side)[:, None, None]
    wash = np.clip(1 - down / 0.34, 0, 1) ** 1.3
    canvas[:] = np.round((1 - wash) * np.array(WASHI) + wash * np.array(DUSK))
    _fill(canvas, _arc((0.17, 0.275), 0.105, 0, 360, 80), SUN)
    key(_arc((0.17, 0.275), 0.105, 0, 362, 80), 0.005)
    banks = (
        (0.05, 0.085, 0.34, 4),
        (0.16, 0.335, 0.3, 6),
        (0.7, 0.05, 0.36, 4),
        (0.02, 0.5, 0.36, 6),
        (0.42, 0.62, 0.2, 4),
    )
    for x, y, reach, rows in banks:
        for i in range(rows):
            left, right = x - reach * rng.uniform(0.4, 1), x + reach * rng.uniform(0.4, 1)
            height = y + 0.019 * i
            ends = np.array([(left, height), (right, height)])
            pill = np.concatenate(
                [_arc((right, height), 0.0085, -90, 90, 12), _arc((left, height), 0.0085, 90, 270, 12)]
            )
            _fill(canvas, pill, (SHELL, PALE_SEA)[i % 2])
            key(np.concatenate([pill, pill[:1]]), 0.0035)
            key(_shift(ends, 0.02, 0), 0.0025, SEA)

    # Far swells.
    for i in range(5):
        y = 0.60 + 0.035 * i
        x = np.linspace(-0.05, 1.05, 60)
        crest = np.stack([x, y + 0.022 * np.sin(9 * x + 2.1 * i) + 0.010 * np.sin(23 * x + i)], -1)
        body(crest, _shift(crest, 0, 0.06), 5, (SHELL, PALE_SEA, SEA, PRUSSIAN, SEA), 0.0035)

    # The great wave: from the trough up the hollow to the lip, and around its back.
    hollow = _curve((0.16, 0.86), (0.46, 0.77), (0.585, 0.60), (0.555, 0.44), (0.455, 0.345), (0.33, 0.335))
    back = _curve((0.60, 1.05), (1.12, 0.92), (1.14, 0.46), (0.90, 0.15), (0.60, 0.07), (0.31, 0.24))
    colors = (PRUSSIAN, INDIGO, SEA, PRUSSIAN, SHELL, PRUSSIAN, SEA, PALE_SEA, PRUSSIAN, INDIGO, PALE_SEA, SEA)
    body(hollow, back, 40, colors, 0.0035)

    # Foam: along the back of the wave, then over the lip, the claws that hang from it last.
    lip = _curve((1.05, 0.23), (0.90, 0.15), (0.74, 0.085), (0.58, 0.075), (0.42, 0.13), (0.32, 0.22), (0.285, 0.31))
    edge = _curve((0.62, 0.50), (0.585, 0.42), (0.53, 0.36), (0.45, 0.32), (0.37, 0.31), (0.30, 0.28))
    for i, point in enumerate(lip[::3]):
        ball = _arc(point + rng.normal(0, 0.006, 2), rng.uniform(0.018, 0.030) * (0.6 + 0.02 * i), 0, 360)
        _print_foam(canvas, [ball, *_claws(rng, point, -1.9 - 0.03 * i + rng.normal(0, 0.2), 0.055, -1.0, 1)], 0.004)
    for point in _shift(lip[36::2], 0.03, 0.03):
        _print_foam(canvas, _claws(rng, point, rng.normal(2.7, 0.5), rng.uniform(0.06, 0.09), -0.9, 1), 0.004)
    for point in lip[44::4]:
        _print_foam(canvas, _claws(rng, point, np.pi * 0.95 + rng.normal(0, 0.2), 0.12, -0.9, 2), 0.004)
    for i, point in enumerate(edge[::5]):
        ball = _arc(point, rng.uniform(0.016, 0.026))
        claws = _claws(rng, point, np.pi * (0.52 + 0.015 * i) + rng.normal(0, 0.12), 0.095 + 0.004 * i, 0.8, 2)
        _print_foam(canvas, [ball, *claws], 0.004)
    for point in np.concatenate([lip[::2], edge[::2]]):
        for x, y in point + rng.normal(0, 0.013, (2, 2)):
            start = rng.uniform(0, 360)
            curl = _arc((x, y), rng.uniform(0.006, 0.012), start, start + 160, 10)
            _ink(canvas, curl, 0.005, (SEA, PALE_SEA)[rng.integers(2)])

    # A smaller wave in front, the swell at the foot, and their foam.
    body(
        _curve((-0.05, 0.80), (0.08, 0.735), (0.19, 0.70), (0.30, 0.80), (0.46, 0.90), (0.62, 0.95)),
        _curve((-0.05, 1.10), (0.05, 1.08), (0.14, 1.06), (0.26, 1.08), (0.46, 1.08), (0.62, 1.10)),
        15, (PRUSSIAN, SEA, PRUSSIAN, PALE_SEA, INDIGO, SHELL),
    )  # fmt: skip
    body(
        _curve((0.22, 1.05), (0.46, 0.955), (0.66, 0.86), (0.80, 0.84), (0.92, 0.88), (1.05, 0.84)),
        _curve((0.30, 1.15), (0.46, 1.10), (0.66, 1.08), (0.80, 1.06), (0.92, 1.08), (1.05, 1.06)),
        11, (SEA, PRUSSIAN, SHELL, PRUSSIAN, INDIGO, PALE_SEA),
    )  # fmt: skip
    for crest in (
        _curve((-0.05, 0.80), (0.08, 0.735), (0.19, 0.70), (0.27, 0.765)),
        _curve((0.60, 0.885), (0.70, 0.845), (0.80, 0.84), (0.92, 0.88), (1.05, 0.84)),
    ):
        for point in crest[::3]:
            ball = _arc(point, rng.uniform(0.012, 0.022))
            _print_foam(canvas, [ball, *_claws(rng, point, -1.7 + rng.normal(0, 0.3), 0.07, -0.9, 1)], 0.0035)

    # Spray.
    for _ in range(240):
        along = lip[rng.integers(24, len(lip))]
        x, y = along + np.abs(rng.normal(0, (0.13, 0.16))) * (-1, 1) + rng.normal(0, 0.03, 2)
        radius = rng.choice([0.0025, 0.004, 0.006])
        _fill(canvas, _arc((x, y), radius + 0.0022, 0, 360, 20), INDIGO)
        _fill(canvas, _arc((x, y), radius, 0, 360, 20), SHELL)

    # What the block and the paper leave: rings of the wood, streaks of the rubbing, fibres.
    rows = np.arange(side)[:, None] / side
    warp = 0.030 * _noise(rng, (5, 4), side) + 0.004 * _noise(rng, (24, 9), side)
    rings = np.sin(2 * np.pi * 40 * (rows + warp)) ** 5
    tone = 15 * rings + 7 * _noise(rng, (220, 14), side) + 5 * _noise(rng, (260, 260), side)
    canvas[:] = np.clip(np.round(canvas + tone[..., None]), 0, 255)


# Impressionism

SKY = np.array([(26, 60, 138), (38, 92, 176), (72, 138, 204), (104, 168, 214), (128, 186, 216), (164, 206, 208)])
CLOUD = np.array([(84, 90, 142), (124, 122, 170), (172, 162, 184), (232, 194, 172), (253, 232, 200), (255, 253, 246)])
GLINTS = np.array([(246, 150, 120), (250, 222, 130), (90, 120, 200), (160, 110, 170), (120, 200, 200)])


def _ramp(values: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Colours (..., 3) for values in [0, 1] along evenly spaced stops (k, 3)."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(values, at, stops[:, i]) for i in range(3)], -1)


def _clouds(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Banks of cumulus, brushed in arcs over the crown of each puff, under a sky brushed in long swirls."""
    # The relief: for each point, the puff that is in front there, how it is lit, which way a stroke runs and bends.
    grid = 400
    y, x = (np.mgrid[0:grid, 0:grid] + 0.5) / grid
    color = _ramp(np.clip(y + 0.05 * _noise(rng, (9, 4), grid), 0, 1), SKY)
    cloud = np.zeros((grid, grid), bool)
    angle = 0.25 * _noise(rng, (5, 5), grid) + 0.2 - 0.4 * x
    curl = np.zeros((grid, grid))  # turn of a stroke in radians per unit of its length
    ragged = 0.10 * _noise(rng, (40, 40), grid)
    for left, right, base, height, count in (
        (0.56, 1.25, 0.24, 0.24, 90), (-0.20, 0.36, 0.27, 0.24, 90), (0.22, 0.86, 0.48, 0.28, 120),
        (-0.30, 0.50, 0.70, 0.36, 140), (0.46, 1.25, 0.80, 0.36, 150), (-0.20, 0.66, 0.98, 0.25, 130),
        (0.30, 1.20, 1.08, 0.22, 130),
    ):  # fmt: skip
        across, lift = rng.uniform(0, 1, count), rng.uniform(0, 1, count) ** 0.8
        towers = 0.72 + 0.28 * np.sin(11 * across + 20 * left)
        rise = height * np.sin(np.pi * np.clip(across, 0.04, 0.96)) ** 0.6 * towers
        radii = height * (0.09 + 0.17 * (1 - lift) * rng.uniform(0.5, 1, count)) * (0.6 + 0.4 * rise / height)
        for i in np.argsort(-lift):
            center = np.array([base - rise[i] * lift[i], left + (right - left) * across[i]])
            low, high = (np.clip(((center + sign * 1.4 * radii[i]) * grid).astype(int), 0, grid) for sign in (-1, 1))
            box = (slice(low[0], high[0]), slice(low[1], high[1]))
            dy, dx = (y[box] - center[0]) / (0.9 * radii[i]), (x[box] - center[1]) / radii[i]
            distance = np.hypot(dx, dy)
            inside = (distance < 1 + ragged[box]) & (y[box] < base + 0.12 * height * ragged[box])
            facing = -0.66 * dx - 0.70 * dy + 0.3 * np.sqrt(np.clip(1 - distance**2, 0, 1))
            up = np.clip((base - y[box]) / height, 0, 1) ** 0.8
            lit = np.clip(0.14 + 0.54 * facing + 0.54 * up + 0.3 * ragged[box], 0, 1)
            crown = np.clip(0.35 - dy, 0.15, 1)
            color[box][inside] = _ramp(lit[inside], CLOUD)
            cloud[box] |= inside
            angle[box][inside] = np.arctan2(dx * crown, 0.25 + np.clip(-dy, 0, 1))[inside]
            curl[box][inside] = (crown / (radii[i] * np.maximum(distance, 0.6)))[inside]
    canvas[:] = np.round(cv2.resize(color, canvas.shape[:2], interpolation=cv2.INTER_LINEAR))

    def brush(count, length, width, streak, glints):
        """A layer of strokes that take colour and direction from the relief, a share of them tinted by a glint."""
        centers = rng.uniform(-0.02, 1.02, (count, 2))
        at = tuple(np.clip((centers[:, ::-1] * grid).astype(int), 0, grid - 1).T)
        mixed = (rng.uniform(size=(count, 1)) < glints) * rng.uniform(0.15, 0.5, (count, 1))
        colors = (1 - mixed) * color[at] + mixed * GLINTS[rng.integers(len(GLINTS), size=count)]
        colors += rng.normal(0, 13, (count, 1))
        lengths = length * rng.uniform(0.7, 1.3, count) * np.where(cloud[at], 1, 1.5)
        bend = np.where(cloud[at], np.clip(curl[at] * lengths, 0, 1.6), rng.normal(0, 0.25, count))
        angles = angle[at] + rng.normal(0, 0.14, count)
        _strokes(canvas, rng, centers, angles, lengths, width, colors, bend, 5, streak)

    brush(1500, 0.080, 0.024, 10, 0.2)
    brush(4000, 0.048, 0.013, 12, 0.2)
    brush(5500, 0.030, 0.0075, 14, 0.25)


PAINTINGS: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "picasso": _picasso,
    "liechtenstein": _liechtenstein,
    "clouds": _clouds,
    "wave": _wave,
}


def paint(name: str, size: int = SIZE) -> np.ndarray:
    """The named picture, (size, size, 3) uint8 RGB; the same bytes for the same name and size."""
    canvas = np.zeros((OVERSAMPLING * size, OVERSAMPLING * size, 3), np.uint8)
    PAINTINGS[name](canvas, np.random.default_rng(0))
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)


def main() -> None:
    """Draws the pictures that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", nargs="?", choices=list(PAINTINGS))
    parser.add_argument("size", nargs="?", type=int, default=SIZE, help="pixels of a side")
    chosen = parser.parse_args()
    for name in [chosen.name] if chosen.name else PAINTINGS:
        path = Path(f"{name}_{chosen.size}.png") if chosen.name else Path(__file__).with_name(f"{name}.png")
        Image.fromarray(paint(name, chosen.size)).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
