"""Augmentation that invents no pixel: halo, key, laws inside the margins, and what is refused."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("albumentations", reason="the extra `augment` is not installed")

import albumentations as alb

from patchaug import Augment, Foreground, ForegroundError, FrameError, Grid, OptionError, Plan, Uniform, WindowError
from patchaug.augment import aerial, histology, padded_share
from patchaug.augment.halo import needed_halo
from patchaug.errors import PatchaugError
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Patch, Slide
from patchaug.testing import masks, pipelines
from tests.sampling.test_samplers import brute_force_law

warnings.filterwarnings("ignore", message="ShiftScaleRotate is a special case")
COLOUR = 200


def augment_uniform_patch(transform, size: tuple[int, int], seed: int, labels=None) -> tuple[Patch, np.ndarray]:
    """Augment a patch of one colour with the halo that its pipeline needs; return the result and the input mask."""
    augment = Augment(transform)
    y, x = augment.needed(*size)
    shape = size[0] + 2 * y, size[1] + 2 * x
    mask = np.ones(shape, np.uint8) if labels is None else np.random.default_rng(seed).choice(labels, shape)
    image = np.full((*shape, 3), COLOUR, np.uint8)
    return augment(Patch(image, mask), *size, np.random.default_rng(seed)), mask


def is_unbounded(transform, height: int, width: int) -> bool:
    """Return True if the pipeline is rejected because no halo is enough, or needs a halo too large to test."""
    try:
        return max(Augment(transform).needed(height, width)) > 1500
    except OptionError as error:
        if "no halo is enough" in str(error):
            return True
        raise


@given(pipelines(), st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_no_pixel_is_invented(transform, height: int, width: int, seed: int) -> None:
    """Any pipeline, any window: one colour comes out as that colour, and ones as ones; what is invented would be 0."""
    if is_unbounded(transform, height, width):
        return
    patch, _ = augment_uniform_patch(transform, (height, width), seed)
    assert patch.image.shape == (height, width, 3) and patch.mask.shape == (height, width)
    assert (patch.image == COLOUR).all() and (patch.mask == 1).all()


@pytest.mark.parametrize("interpolation", [0, 1, 2, 4])
@pytest.mark.parametrize("size", [(64, 64), (96, 160), (100, 21), (5, 90)])
def test_perspective_shows_nothing_beyond_the_picture(interpolation: int, size: tuple[int, int]) -> None:
    """Its outermost rows and columns are made of pixels up to one beyond the border, and of what the kernel adds."""
    transform = alb.Perspective((0.01, 0.3), p=1, interpolation=interpolation, border_mode=0)
    for seed in range(60):
        patch, _ = augment_uniform_patch(transform, size, seed)
        assert (patch.image == COLOUR).all() and (patch.mask == 1).all()


@given(
    pipelines(depth=2), st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.int64])
)
def test_masks_hold_numbers_of_the_slide_alone(transform, seed: int, dtype) -> None:
    """No mean of two classes, no fill; the dtype stays."""
    labels = np.array([3, 7, 250] if dtype == np.uint8 else [3, 7, 30_000], dtype)
    if is_unbounded(transform, 40, 50):
        return
    patch, given_mask = augment_uniform_patch(transform, (40, 50), seed, labels)
    assert patch.mask.dtype == dtype and set(np.unique(patch.mask)) <= set(np.unique(given_mask))


@pytest.mark.parametrize(
    "transform",
    [
        alb.AdvancedBlur((3, 9), p=1), alb.Blur((3, 11), p=1), alb.Defocus((1, 12), p=1),
        alb.Downscale((0.2, 0.5), p=1),
        alb.Emboss(p=1), alb.GaussianBlur(sigma_limit=(1, 4), p=1), alb.GlassBlur(max_delta=5, iterations=3, p=1),
        alb.ImageCompression(quality_range=(5, 40), p=1), alb.MedianBlur((3, 7), p=1), alb.MotionBlur((3, 15), p=1),
        alb.RingingOvershoot((7, 15), p=1),
        alb.Sharpen(p=1), alb.Sharpen(method="gaussian", kernel_size=9, sigma=2, p=1), alb.UnsharpMask((3, 9), p=1),
        alb.ZoomBlur(p=1), alb.Compose([alb.Blur((3, 9), p=1), alb.Rotate((-90, 90), p=1), alb.Sharpen(p=1)]),
        alb.ElasticTransform(alpha=15, sigma=3, p=1, interpolation=4), alb.GridDistortion(interpolation=2, p=1),
    ],
    ids=lambda t: type(t).__name__,
)  # fmt: skip
def test_no_pixel_beyond_the_halo_matters(transform) -> None:
    """With a ring of 16 px more around it: whatever the ring holds, the patch is the same."""
    y, x = Augment(transform).needed(40, 48)
    augment = Augment(transform, halo=0)
    rng = np.random.default_rng(1)
    shape = 40 + 2 * (y + 16), 48 + 2 * (x + 16)
    for seed in range(8):
        image = rng.integers(0, 256, (*shape, 3), np.uint8)
        other = rng.integers(0, 256, (*shape, 3), np.uint8)
        other[16:-16, 16:-16] = image[16:-16, 16:-16]
        one, two = (augment(Patch(i, None), 40, 48, np.random.default_rng(seed)).image for i in (image, other))
        assert (one == two).all()


def ramp_slide(side: int = 250) -> Slide:
    """Make a slide whose red is the column and green the row; the mask is 256 * column + row."""
    at = np.arange(side, dtype=np.uint8)
    image = np.zeros((side, side, 3), np.uint8)
    image[..., 0], image[..., 1] = at[None, :], at[:, None]
    return open_slide(image, at[None, :].astype(np.int32) * 256 + at[:, None], name="ramp")


@pytest.mark.parametrize(
    "transform",
    [
        alb.Rotate((-180, 180), p=1),
        alb.Affine(scale=(0.7, 1.4), rotate=(-180, 180), shear=(-10, 10), translate_px=(-5, 5), p=1),
        alb.Perspective(p=1),
        alb.ElasticTransform(alpha=20, sigma=4, p=1),
        alb.GridDistortion(p=1),
        alb.OpticalDistortion(0.3, p=1),
        alb.D4(p=1),
        alb.Compose([alb.ElasticTransform(alpha=9, sigma=4, p=1), alb.Rotate((-90, 90), p=1), alb.Transpose(p=1)]),
    ],
    ids=lambda t: type(t).__name__,
)
def test_image_and_mask_move_together(transform) -> None:
    """Image and mask name the same place after any transform, to half a pixel of the nearest and half a grey value."""
    plan = Plan([ramp_slide()], Uniform(32, per_slide=40), seed=2, augment=Augment(transform))
    steps = 2 if isinstance(transform, alb.Compose) else 1  # each interpolation may be half a pixel off
    moved = 0.0
    for draw in plan:
        image, mask = plan.read(draw)
        x, y = mask // 256, mask % 256
        assert np.abs(image[..., 0] - x.astype(float)).max() <= 1.05 * steps + 0.02
        assert np.abs(image[..., 1] - y.astype(float)).max() <= 1.05 * steps + 0.02
        moved += float(np.abs(x - (draw.window.x + np.arange(32))[None, :]).mean())
    assert moved > 0


def test_halos_are_as_small_as_can_be() -> None:
    """724 px for 512 turned by any angle; half of it shows invented pixels; none where none is needed."""
    assert needed_halo(alb.Rotate((-180, 180)), 512, 512) == (106, 106)
    assert needed_halo(alb.Rotate((-45, 45)), 512, 512) == (106, 106)
    assert needed_halo(alb.Rotate((-10, 10)), 512, 512) == (41, 41)
    assert needed_halo(alb.Affine(scale=(0.5, 1)), 100, 60) == (50, 30)
    assert needed_halo(alb.Affine(translate_px={"x": (-7, 3), "y": (0, 0)}), 64, 64) == (1, 8)
    for transform in (alb.HorizontalFlip(), alb.D4(), alb.RandomBrightnessContrast(), alb.CoarseDropout()):
        assert needed_halo(transform, 64, 64) == (0, 0)
    assert needed_halo(alb.D4(), 64, 48) == (0, 8)  # a square can be turned, and holds the patch
    assert padded_share(alb.Rotate((-180, 180), p=1), 128, draws=40) == 0
    assert padded_share(alb.Rotate((-180, 180), p=1), 128, halo=24, draws=40) > 0
    assert (
        padded_share(alb.Rotate((-180, 180), p=1, border_mode=4), 128, halo=0, draws=40) > 0.05
    )  # mirrored is invented


@pytest.mark.parametrize("make", [histology, aerial])
def test_ready_pipelines_invent_nothing_and_vary(make) -> None:
    """Their halo is known; two draws of one patch differ, in image and mask."""
    assert padded_share(make(), 96, draws=60) == 0
    plan = Plan([ramp_slide()], Uniform(16, per_slide=9), augment=make(halo=60))
    patches = [plan.read(draw) for draw in plan]
    assert len({p.image.tobytes() for p in patches}) == len({p.mask.tobytes() for p in patches}) == 9


def test_a_sample_is_a_function_of_its_key() -> None:
    """In any order, from copies and pickles; the user's own transform is left alone, and other draws are other ones."""
    pipeline = alb.Compose([alb.Rotate((-180, 180), p=1), alb.GaussNoise(p=0.5), alb.ElasticTransform(alpha=9, p=0.5)])
    plan = Plan([ramp_slide()], Uniform(16, per_slide=12), seed=4, augment=Augment(pipeline))
    forwards = [plan.read(plan[i]).image.tobytes() for i in range(36)]
    other = pickle.loads(pickle.dumps(plan))
    backwards = [other.read(other[i]).image.tobytes() for i in reversed(range(36))]
    assert forwards == backwards[::-1] and len(set(forwards)) == 36
    again = Plan([ramp_slide()], Uniform(16, per_slide=12), seed=5, augment=Augment(pipeline))
    assert not set(forwards) & {again.read(again[i]).image.tobytes() for i in range(36)}


@given(
    masks(max_side=10, classes=3), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 0.2]), st.data(),
)  # fmt: skip
def test_laws_are_exact_inside_the_margins(
    mask: np.ndarray, y: int, x: int, share: float, min_fraction: float, data: st.DataObject
) -> None:
    """The law of the windows that keep the halo inside the slide, by counting them all."""
    mask = np.pad(mask, ((y, y), (x, x)), constant_values=1)
    height, width = mask.shape[0] - 2 * y, mask.shape[1] - 2 * x
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    slide = open_slide(np.zeros((*mask.shape, 3), np.uint8), mask)
    inside = mask[y : y + height, x : x + width]
    weights = {1: 3.0, 2: 1.0}
    sampler = Foreground((h, w), per_slide=30, foreground=share, classes=weights, min_fraction=min_fraction)
    try:
        law = sampler.distribution(slide, (y, x))
    except ForegroundError:
        counts = [
            np.isin(inside[b : b + h, a : a + w], [1, 2]).sum()
            for b in range(height - h + 1)
            for a in range(width - w + 1)
        ]
        assert max(counts) < max(min_fraction * h * w, 1)
        return
    if share or min_fraction:
        expected = brute_force_law(inside, w, h, share, weights, min_fraction)
    else:
        expected = None
    generator = np.random.default_rng(0)
    for number in range(30):
        window, probability = law.draw(number, lambda _: generator)
        assert (
            x <= window.x and window.right <= mask.shape[1] - x and y <= window.y and window.bottom <= mask.shape[0] - y
        )
        if expected is None:
            assert probability == pytest.approx(1 / ((height - h + 1) * (width - w + 1)))
        else:
            moved = type(window)(window.x - x, window.y - y, w, h)
            assert probability == pytest.approx(expected[moved], abs=1e-12)


def test_every_window_inside_the_margins_is_drawn() -> None:
    """The first and the last of them too, and none outside."""
    slide = open_slide(np.zeros((12, 14, 3), np.uint8), np.ones((12, 14), np.uint8))
    for sampler in (Uniform(4, per_slide=4000), Foreground(4, per_slide=4000, foreground=1.0)):
        drawn = {(d.window.x, d.window.y) for d in Plan([slide], sampler, halo=3)}
        assert drawn == {(x, y) for x in range(3, 8) for y in range(3, 6)}


def test_at_reflected_edges_all_windows_are_drawn_and_mirrored_labels_are_void() -> None:
    """Image pixels beyond the border are the mirrored ones; the mask's are `ignore_index`, and nothing else is."""
    image = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3)
    mask = np.ones((20, 24), np.uint8)
    slide = open_slide(image, mask, ignore_index=255)
    plan = Plan([slide], Uniform(4, per_slide=4000), halo=5, edge="reflect")
    assert {(d.window.x, d.window.y) for d in plan} == {(x, y) for x in range(21) for y in range(17)}
    mirrored, marked = np.pad(image, ((5, 5), (5, 5), (0, 0)), mode="reflect"), np.pad(mask, 5, constant_values=255)
    for draw in (plan[index] for index in range(200)):
        patch = plan.read(draw)
        x, y = draw.window.x, draw.window.y
        assert (patch.image == mirrored[y : y + 14, x : x + 14]).all()
        assert (patch.mask == marked[y : y + 14, x : x + 14]).all()
    grid = Plan([slide], Grid(4), augment=Augment(alb.Rotate((-180, 180), p=1)), edge="reflect")
    assert {int(v) for d in grid for v in np.unique(grid.read(d).mask)} == {1, 255}


@settings(max_examples=20)
@given(st.floats(0.25, 1.0), st.integers(4, 40), st.integers(0, 2**32 - 1))
def test_halos_count_pixels_of_the_patch(mpp: float, size: int, seed: int) -> None:
    """With a resolution between levels: patches have their size, and their middle is the window's middle."""
    slide = Slide(ramp_slide().image, name="ramp", mpp=0.25)
    plan = Plan([slide], Uniform(size, mpp=mpp, per_slide=3), seed=seed, halo=7)
    for draw in plan:
        patch = plan.read(draw)
        assert patch.image.shape[:2] == (size + 14, size + 14)
        inner = patch.image[7:-7, 7:-7, 0].astype(float)
        centre = draw.window.x + draw.window.width / 2 - 0.5
        assert abs(inner.mean() - centre) <= 1.5 * mpp / 0.25


class Mine(alb.ImageOnlyTransform):
    """A transform that patchaug does not know."""

    def apply(self, img, **params):
        """Return the image unchanged."""
        return img


@pytest.mark.parametrize(
    ("transform", "text"),
    [
        (Mine(), "the halo of Mine, a custom transform, is not known; set it in pixels, such as halo=32"),
        (alb.OneOf([alb.ThinPlateSpline(p=1), alb.D4()]), "the halo of ThinPlateSpline is not known; set it in pixels"),
        (alb.ImageCompression("webp"), "the halo of ImageCompression is not known"),
        (alb.RandomCrop(8, 8), "RandomCrop changes the size of the image, but the sampler sets the size of windows"),
        (alb.Rotate(crop_border=True), "Rotate changes the size of the image"),
        (alb.Affine(fit_output=True), "Affine with fit_output changes the size"),
        (alb.Perspective(keep_size=False), "Perspective changes the size"),
        (alb.Compose([alb.Rotate((-90, 90)), alb.Perspective()]), "no halo is enough for .*put it first, or set halo="),
        (alb.Affine(shear={"x": (-60, 60), "y": (-60, 60)}), "shear .* may fold the image; reduce the shear"),
    ],
)
def test_pipelines_without_a_known_halo_are_refused(transform, text: str) -> None:
    """The error names the transform and the cure; with halo= they are accepted."""
    with pytest.raises(OptionError, match=text):
        Plan([ramp_slide()], Uniform(16), augment=Augment(transform))
    Plan([ramp_slide()], Uniform(16), augment=Augment(transform, halo=10))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Augment(lambda image: image), "takes a transform or Compose of albumentations, got function"),
        (lambda: Augment(alb.D4(), halo=-1), "halo must be in 0..65536, got -1"),
        (lambda: Augment(alb.D4(), halo="some"), "halo must be an integer, got 'some'"),
        (
            lambda: Augment(alb.Compose([alb.D4()], bbox_params=alb.BboxParams("yolo"))),
            "supports image and mask; remove bboxes",
        ),
        (
            lambda: Augment(alb.Compose([alb.D4()], keypoint_params=alb.KeypointParams("xy"))),
            "supports image and mask; remove keypoints",
        ),
        (
            lambda: Augment(alb.Compose([alb.D4()], additional_targets={"other": "image"})),
            "remove additional_targets",
        ),
        (
            lambda: Augment(alb.Rotate(mask_interpolation=1)),
            "Rotate interpolates masks .* class numbers cannot be averaged",
        ),
    ],
)
def test_transforms_that_would_corrupt_masks_are_rejected(make, text: str) -> None:
    """When the augmentation is made."""
    with pytest.raises(OptionError, match=text):
        make()


def test_results_of_another_size_or_kind_are_refused() -> None:
    """At the first patch; the error gives both sizes."""
    for transform, text in [
        (alb.RandomCrop(8, 8, p=1), r"returned \(8, 8, 3\) for \(16, 16, 3\), and a patch of 16 x 16 px is required"),
        (alb.Normalize(p=1), "returned pixels of float32, and patches are uint8"),
    ]:
        plan = Plan([ramp_slide()], Uniform(16), augment=Augment(transform, halo=0))
        with pytest.raises(OptionError, match=text):
            plan.read(plan[0])
    slide = open_slide(np.zeros((9, 9, 3), np.uint8), np.full((9, 9), 70_000, np.int32))
    plan = Plan([slide], Uniform(5), augment=Augment(alb.D4()))
    with pytest.raises(OptionError, match=r"class numbers 70000..70000 do not fit into 16 bits"):
        plan.read(plan[0])


def test_slides_too_small_for_the_halo_are_named() -> None:
    """With what is needed, what there is, and the cure; labels that only the border has, too."""
    turn = Augment(alb.Rotate((-180, 180)))
    slide = open_slide(np.zeros((100, 140, 3), np.uint8), np.ones((100, 140), np.uint8), name="biopsy")
    text = r"biopsy: a window of 80 x 80 px with a halo of 17 x 17 px .* takes 114 x 114 px, and level 0 has 140 x 100"
    with pytest.raises(WindowError, match=text):
        Plan([slide], Uniform(80), augment=turn)
    with pytest.raises(OptionError, match="a grid covers each pixel, also at the border, where a halo of 17 x 17 px"):
        Plan([slide], Grid(80), augment=turn)
    assert len(Plan([slide], Uniform(80), augment=turn, edge="reflect")) == 1
    reflected = Plan([slide], Uniform(80), augment=turn, edge="reflect")
    with pytest.raises(FrameError, match=r"biopsy: a halo leaves the slide.* need an ignore_index .*: open_slide"):
        reflected.read(reflected[0])
    mask = np.zeros((100, 140), np.uint8)
    mask[0] = 1
    edge = open_slide(np.zeros((100, 140, 3), np.uint8), mask, name="rim")
    with pytest.raises(ForegroundError, match=r"rim: the classes \[1\] lie within 17 x 17 px of its border"):
        Plan([edge], Foreground(80 - 34 - 6, foreground=1.0), halo=17)
    with pytest.raises(PatchaugError, match="edge must be"):
        Plan([slide], Uniform(8), edge="pad")


@given(st.sampled_from([0, 1, 2, 3, 7, -1, 1.5, 255]), st.booleans())
def test_dropouts_paint_no_number_that_codes_do_not_name(number: float, nested: bool) -> None:
    """Codes and `ignore_index` may be painted; anything else is refused before training, in nested pipelines too."""
    image, labels = np.zeros((60, 60, 3), np.uint8), np.ones((60, 60), np.uint8)
    slide = open_slide(image, labels, codes=["a", "b", "c"], ignore_index=255, name="s")
    for part, word in (
        (alb.CoarseDropout(fill_mask=number, p=1), "fill_mask"),
        (alb.Erasing(fill_mask=number, p=1), "fill_mask"),
        (alb.PixelDropout(mask_drop_value=number, p=1), "mask_drop_value"),
    ):
        transform = alb.Compose([alb.OneOf([alb.NoOp(p=0), part], p=1) if nested else part])
        if number in (0, 1, 2, 255):
            plan = Plan([slide], Uniform(20), augment=Augment(transform))
            assert set(np.unique(plan.read(plan[0]).mask)) <= {1, number}
        else:
            with pytest.raises(OptionError, match=rf"s: {type(part).__name__} paints .*\({word}={number}\).*0 to 2"):
                Plan([slide], Uniform(20), augment=Augment(transform))
    unnamed = open_slide(image, labels)  # without codes any number is accepted
    assert Plan([unnamed], Uniform(20), augment=Augment(alb.CoarseDropout(fill_mask=7)))
