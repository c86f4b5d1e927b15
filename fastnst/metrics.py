"""How still a picture holds and how much of the style it has: pure functions of frames, without state.

Frames are RGB in [0, 1]. "Grey levels" are 255 times that. A function of a pair returns one value per pair, so a clip
goes through frame by frame in constant memory; its docstring says how the values of a clip are joined. Intervals other
than 1 need nothing special: the pair is then (t, t + 10), with the flow between those two frames.

A mask says which pixels of `frame` are compared: `occlusion_mask(...)` of `fastnst.flow`, or ground truth times
`inside(flow)`. Where it leaves no pixel, a mean over its pixels is NaN: nothing was measured, which is not the same as
no error; `torch.nanmean` over the clip leaves such pairs out.

Every value needs the input video's own value beside it, and a style and contrast beside that: what is grey is still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fastnst.errors import InputError
from fastnst.flow import affine_flow, inside, warp
from fastnst.images import luma

Stylize = Callable[[Float[Tensor, "batch 3 height width"]], Float[Tensor, "batch 3 height width"]]

STATIC_CHANGE = 10.0  # grey levels that a still pixel may stray from its running mean
STATIC_RATE = 0.1  # weight of a frame in that mean: light that changes over tens of frames is no motion
STATIC_MARGIN = 4  # pixels kept clear of everything that moves
STATIC_SHARE = 0.05  # fewer still pixels are chance: the camera moves
FIXED_CAMERA = (
    0.05  # pixels per frame; a camera that moves faster moves. Fixed ones had up to 0.02, moving ones from 0.1
)
VISIBLE_CHANGE = 2.0  # grey levels; a smaller change of a pixel from frame to frame is not seen
TEXTURE_CELL = 9  # pixels; the side of the squares over which `camera_motion` takes the mean gradient

# name: shift in pixels, degrees, zoom; one of the three at a time, so that the opposite undoes it
MOTIONS = {"shift": ((0.5, 0.25), 0.0, 1.0), "rotation": ((0.0, 0.0), 1.0, 1.0), "zoom": ((0.0, 0.0), 0.0, 1.02)}


def _masked_mean(
    values: Float[Tensor, "batch channels height width"], mask: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, " batch"]:
    """Returns the mean over unmasked pixels and all channels; NaN where the mask is empty."""
    return (values * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) * values.shape[1])


def warping_error(
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
    flow: Float[Tensor, "batch 2 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, " batch"]:
    """Mean squared difference of `frame` and `next_frame` warped onto it, over unmasked pixels and channels.

    Range: 0 to 1, in squared [0, 1] intensities. A clip: the mean of its pairs. All masked: NaN.

    Source: Lai et al. 2018, arXiv:1808.00449, E_warp, as their evaluation code has it (masked pixels in neither sum).
    Differs: their code gives 0 to a pair with all pixels masked, as if it were perfect.
    """
    return _masked_mean((warp(next_frame, flow) - frame).square(), mask)


def mean_absolute_warping_error(
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
    flow: Float[Tensor, "batch 2 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, " batch"]:
    """Mean absolute difference of `frame` and `next_frame` warped onto it, over unmasked pixels and channels.

    Range: 0 to 255, in grey levels: `static_flicker` along the motion. A clip: the mean of its pairs. All masked: NaN.

    Source: this project, to have moving and still pixels in one unit.
    Differs: `warping_error` squares, so a few large differences outweigh a picture that trembles everywhere.
    """
    return 255 * _masked_mean((warp(next_frame, flow) - frame).abs(), mask)


def stability_error(
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
    flow: Float[Tensor, "batch 2 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, " batch"]:
    """Root of the sum of squared differences of unmasked pixels over the number of all pixels, masked ones too.

    Range: 0 to 1, in [0, 1] intensities. A clip: the root of the mean of its pairs' squares. All masked: 0, as the
    normaliser does not know the mask; the larger the masked area, the smaller the value.

    Source: Huang et al. 2017 (CVPR), "Real-Time Neural Style Transfer for Videos", E_stab; the same form in ReCoNet,
    Gao et al. 2018, arXiv:1807.01197, e_stab.
    Differs: `next_frame` is warped onto `frame`, there the previous frame onto the next one. The mean is over the
    channels too; a paper that sums them has sqrt(3) times these values.
    """
    return ((warp(next_frame, flow) - frame) * mask).square().mean((1, 2, 3)).sqrt()


def static_flicker(
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, " batch"]:
    """Mean absolute change from frame to frame over pixels that hold still in the input, and channels.

    Range: 0 to 255, in grey levels. A clip: the mean of its pairs. No still pixel: NaN. The figure to report is the
    output's value, the input's value under the same mask, and their ratio.

    Args:
        frame: a frame of the input, or of the output.
        next_frame: its successor.
        mask: `static_mask` of the *input* clip at the size of the frames.

    Source: this project; no flow, hence no error of a flow.
    """
    return 255 * _masked_mean((next_frame - frame).abs(), mask)


def static_change_share(
    frame: Float[Tensor, "batch 3 height width"],
    next_frame: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, " batch"]:
    """Share of the pixels that hold still in the input which change by more than `VISIBLE_CHANGE` from frame to frame.

    Range: 0 to 1. A pixel's change is the mean over its channels. A clip: the mean of its pairs. No still pixel: NaN.
    Beside `static_flicker` it says whether a little changes everywhere, which nobody sees, or a few places boil.

    Args:
        frame: a frame of the input, or of the output.
        next_frame: its successor.
        mask: `static_mask` of the *input* clip at the size of the frames.

    Source: this project.
    """
    changes = (255 * (next_frame - frame).abs().mean(1, keepdim=True) > VISIBLE_CHANGE).to(mask.dtype)
    return _masked_mean(changes, mask)


def camera_motion(
    frame: Float[Tensor, "batch 3 height width"], flow: Float[Tensor, "batch 2 height width"]
) -> Float[Tensor, " batch"]:
    """Lower quartile of the lengths of the flow in the half of the picture that has more texture, in pixels.

    A fixed camera leaves at least a quarter of that half where it is, whoever walks by; a moving one moves nearly all
    of it. The rest of the picture says nothing: in a flat area no flow can be found. A clip: the mean of its pairs,
    each divided by the number of frames between the two; the camera counts as fixed below `FIXED_CAMERA`.

    Args:
        frame: a frame of the input.
        flow: from it to a later frame.

    Source: this project. Phase correlation was tried as well: it follows whoever walks by where the rest is flat.
    """
    across, down = torch.gradient(luma(frame), dim=(2, 3))
    margin = TEXTURE_CELL // 2
    texture = F.avg_pool2d((across.square() + down.square()).sqrt(), TEXTURE_CELL, 1, margin, count_include_pad=False)
    quartiles = []
    for own_texture, lengths in zip(texture[:, 0], flow.norm(dim=1), strict=True):
        textured = lengths[own_texture > own_texture.median()]
        textured = textured if len(textured) else lengths.flatten()  # all of it alike, as in a black picture
        quartiles.append(textured.kthvalue(1 + len(textured) // 4).values)
    return torch.stack(quartiles)


def static_mask(frames: Iterable[Float[Tensor, "1 3 height width"]]) -> Float[Tensor, "1 1 height width"]:
    """Returns 1 where no channel of the input ever strays more than `STATIC_CHANGE` grey levels from its running mean.

    Frames are first smoothed by the mean of 5 x 5 pixels, which takes away grain and leaves motion. Everything within
    `STATIC_MARGIN` pixels of a moving pixel is 0 too, and so is everything if under `STATIC_SHARE` of the picture holds
    still, as under a moving camera, or where a clip has several shots. Flat areas hold still whatever moves: nothing
    changes there. Two pictures are kept, however long the clip.

    Args:
        frames: the input clip, one frame after the other.

    Raises:
        InputError: there are no frames.
    """
    mean = change = None
    for frame in frames:
        smooth = F.avg_pool2d(frame, 5, stride=1, padding=2, count_include_pad=False)
        if mean is None or change is None:
            mean, change = smooth, torch.zeros_like(smooth)
        change = torch.maximum(change, (smooth - mean).abs())
        mean = mean + STATIC_RATE * (smooth - mean)
    if change is None:
        raise InputError("no static mask: the clip has no frames")
    moving = (255 * change.amax(1, keepdim=True) > STATIC_CHANGE).to(change.dtype)
    still = 1 - F.max_pool2d(moving, 2 * STATIC_MARGIN + 1, stride=1, padding=STATIC_MARGIN)
    return still * (still.mean() >= STATIC_SHARE)


@torch.no_grad()
def noise_gain(
    stylize: Stylize, images: Float[Tensor, "batch 3 height width"], sigma: float, generator: torch.Generator
) -> Float[Tensor, " batch"]:
    """rms(f(x + n) - f(x)) / rms(n): how many times stronger noise comes out than it went in.

    Range: 0 up; 1 for the identity, 0 for an output that ignores its input. No video, no flow, no mask. Several
    images: the mean. A repeatable value needs a generator freshly seeded.

    Args:
        stylize: f, pictures to pictures of the same size.
        images: x.
        sigma: standard deviation of the Gaussian noise, of the [0, 1] range: 2 / 255 is two grey levels.
        generator: where the noise comes from, on the CPU, so that every device sees the same noise.

    Source: this project; the noise pairs of Element AI's chainer-fast-neuralstyle, read as a gain.
    Differs: n is what is left of the noise after x + n is clipped to [0, 1], as a picture's noise is.
    """
    noise = torch.randn(images.shape, generator=generator).to(images)
    noisy = (images + sigma * noise).clamp(0, 1)
    change_out, change_in = stylize(noisy) - stylize(images), noisy - images
    return (change_out.square().mean((1, 2, 3)) / change_in.square().mean((1, 2, 3))).sqrt()


@torch.no_grad()
def motion_error(
    stylize: Stylize, images: Float[Tensor, "batch 3 height width"]
) -> dict[str, tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]]:
    """Mean absolute difference of f(moved x) and moved f(x) under known motions, and the part that resampling explains.

    Range: 0 to 255, in grey levels, over the pixels that come from inside the picture and all channels. Several images:
    the mean. 0 for every f that looks at single pixels and is affine, the identity and a constant among them.

    Returns:
        By motion of `MOTIONS` (shift by (0.5, 0.25) pixels, rotation by 1 degree, zoom by 1.02): the error, and its
        floor: half of what moving f(x) there and back changes. Bilinear sampling blurs moved f(x) by about that much
        before f's own faults count; errors near the floor cannot be told from 0.

    Source: this project; equivariance to known motion after Eilertsen et al. 2019, arXiv:1902.10424 (transform
    invariance), here as a metric.
    """
    height, width = images.shape[2:]
    stylized = stylize(images)
    errors = {}
    for name, ((right, down), degrees, zoom) in MOTIONS.items():
        flow = affine_flow(height, width, (right, down), degrees, zoom).to(images).expand(len(images), -1, -1, -1)
        back = affine_flow(height, width, (-right, -down), -degrees, 1 / zoom).to(images).expand_as(flow)
        moved = warp(stylized, flow)
        error = 255 * _masked_mean((stylize(warp(images, flow)) - moved).abs(), inside(flow))
        floor = 255 * _masked_mean((warp(moved, back) - stylized).abs(), inside(back)) / 2
        errors[name] = (error, floor)
    return errors


def contrast(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, " batch"]:
    """Standard deviation over the pixels of a picture: the root of the mean variance of its three channels.

    Range: 0 (one colour) to 127.5, in grey levels; no mask. A clip: the mean of its frames. Our own: it says whether a
    steady painting is merely a flat one.
    """
    return 255 * images.var((2, 3), correction=0).mean(1).sqrt()
