"""The rivals beside formulas written anew in numpy and scipy, and where nothing is to be found."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import AsymmetricUnifiedFocalLoss, DiceLoss
from scipy import ndimage

from dilated_ce.study.training.loss_parts import Setting, SumLoss, set_progress
from dilated_ce.study.training.loss_spec import parse_loss
from dilated_ce.study.training.losses import LOSSES

SHAPES = {"2D": (9, 11), "3D": (7, 6, 5)}
RIVALS = (
    *("focal", "generalised-dice", "dice-top-k", "lovasz", "unified-focal"),
    *("dice-cldice", "dice-boundary", "dice-hausdorff-dt"),
)
dims = pytest.mark.parametrize("dims", SHAPES)


def example(dims, classes=3, masks=False):
    random = torch.Generator().manual_seed(3)
    shape = (2, classes, *SHAPES[dims])
    logits = 2 * torch.randn(shape, generator=random)
    smooth = ndimage.gaussian_filter(
        torch.randn(shape, generator=random), (0, 0, 1, 1, 1)[: len(shape)]
    )
    if masks:
        return logits, torch.from_numpy(smooth > 0.1).float()
    return logits, torch.from_numpy(smooth).argmax(1, keepdim=True).to(torch.uint8)


def arrays(logits, labels):
    """Probabilities and truth by image and class, in float64."""
    probabilities = logits.double().softmax(1).numpy()
    truth = np.stack([labels[:, 0].numpy() == c for c in range(logits.shape[1])], 1)
    return probabilities, truth.astype(float)


def by_hand_focal(probabilities, truth, gamma=2.0):
    right = (probabilities * truth).sum(1)
    return np.mean((1 - right) ** gamma * -np.log(right))


def by_hand_generalised_dice(probabilities, truth):
    losses = []
    for p, t in zip(probabilities, truth, strict=True):
        weights = [1 / t[c].sum() ** 2 for c in range(len(t))]
        common = sum(w * (p[c] * t[c]).sum() for c, w in enumerate(weights))
        total = sum(w * (p[c] + t[c]).sum() for c, w in enumerate(weights))
        losses.append(1 - 2 * common / total)
    return np.mean(losses)


def jaccard_loss(errors, truth):
    """Of a set of misclassified voxels, as Berman et al. define it."""
    return errors.sum() / (truth | errors).sum()


def by_hand_lovasz(probabilities, truth):
    losses = []
    for c in range(truth.shape[1]):
        p, t = probabilities[:, c].ravel(), truth[:, c].ravel().astype(bool)
        if not t.any():
            continue
        errors = np.abs(p - t)
        wrong, before, loss = np.zeros(len(t), bool), 0.0, 0.0
        for voxel in np.argsort(-errors):
            wrong[voxel] = True
            after = jaccard_loss(wrong, t)
            loss += errors[voxel] * (after - before)
            before = after
        losses.append(loss)
    return np.mean(losses)


def by_hand_unified_focal(probabilities, truth, share=0.5, delta=0.6, gamma=0.5):
    """The authors' Keras code (channels last there), its sums over one rare class made a loop."""
    entropies = -truth * np.log(probabilities)
    focal = (1 - delta) * (1 - probabilities[:, 0]) ** gamma * entropies[:, 0]
    parts = []
    for c in range(truth.shape[1]):
        if c > 0:
            focal = focal + delta * entropies[:, c]
        for p, t in zip(probabilities[:, c], truth[:, c], strict=True):
            hit, missed, false = (p * t).sum(), ((1 - p) * t).sum(), (p * (1 - t)).sum()
            index = hit / (hit + delta * missed + (1 - delta) * false)
            parts.append(1 - index if c == 0 else (1 - index) * (1 - index) ** -gamma)
    return share * focal.mean() + (1 - share) * np.mean(parts)


def by_hand_skeleton(image, iterations):
    cross = ndimage.generate_binary_structure(image.ndim, 1)
    full = np.ones((3,) * image.ndim)

    def opened(image):
        eroded = ndimage.grey_erosion(image, footprint=cross, mode="nearest")
        return ndimage.grey_dilation(eroded, footprint=full, mode="nearest")

    skeleton = np.maximum(image - opened(image), 0)
    for _ in range(iterations):
        image = ndimage.grey_erosion(image, footprint=cross, mode="nearest")
        left = np.maximum(image - opened(image), 0)
        skeleton = skeleton + np.maximum(left - skeleton * left, 0)
    return skeleton


def by_hand_cldice(probabilities, truth, iterations=3):
    losses = []
    for p, t in zip(probabilities, truth, strict=True):
        for c in range(1, len(t)):
            found, true = by_hand_skeleton(p[c], iterations), by_hand_skeleton(t[c], iterations)
            precision = ((found * t[c]).sum() + 1) / (found.sum() + 1)
            sensitivity = ((true * p[c]).sum() + 1) / (true.sum() + 1)
            losses.append(1 - 2 * precision * sensitivity / (precision + sensitivity))
    return np.mean(losses)


def by_hand_distances(mask):
    """Of every voxel to the nearest one of the other side, less 1 inside, by all pairs."""
    inside, outside = np.argwhere(mask), np.argwhere(~mask)
    distances = np.zeros(mask.shape)
    for voxel in inside:
        distances[tuple(voxel)] = 1 - np.linalg.norm(outside - voxel, axis=1).min()
    for voxel in outside:
        distances[tuple(voxel)] = np.linalg.norm(inside - voxel, axis=1).min()
    return distances


def by_hand_boundary(probabilities, truth):
    return np.mean(
        [
            (p[c] * by_hand_distances(t[c] > 0.5)).mean()
            for p, t in zip(probabilities, truth, strict=True)
            for c in range(1, len(t))
        ]
    )


def by_hand_hausdorff(probabilities, truth, alpha=2.0):
    def far(mask):
        if mask.all() or not mask.any():
            return np.zeros(mask.shape)
        return ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)

    losses = []
    for p, t in zip(probabilities, truth, strict=True):
        for c in range(1, len(t)):
            weights = far(p[c] > 0.5) ** alpha + far(t[c] > 0.5) ** alpha
            losses.append(((p[c] - t[c]) ** 2 * weights).mean())
    return np.mean(losses)


def dice_of(logits, labels):
    return DiceLoss(to_onehot_y=True, softmax=True)(logits, labels).item()


@dims
@pytest.mark.parametrize(
    ("text", "by_hand"),
    [
        ("focal", by_hand_focal),
        ("focal:gamma=0.5", lambda p, t: by_hand_focal(p, t, 0.5)),
        ("generalised-dice", by_hand_generalised_dice),
        ("lovasz", by_hand_lovasz),
        ("unified-focal", by_hand_unified_focal),
        (
            "unified-focal:share=0.2,delta=0.7,gamma=0.3",
            lambda p, t: by_hand_unified_focal(p, t, 0.2, 0.7, 0.3),
        ),
        ("dice-cldice:alpha=1", by_hand_cldice),
        ("dice-cldice:alpha=1,iterations=1", lambda p, t: by_hand_cldice(p, t, 1)),
    ],
)
def test_a_rival_is_its_formula(dims, text, by_hand):
    logits, labels = example(dims)
    expected = by_hand(*arrays(logits, labels))
    assert parse_loss(text).build()(logits, labels).item() == pytest.approx(expected, rel=1e-4)


@dims
def test_the_boundary_loss_is_its_formula_and_takes_the_lead(dims):
    logits, labels = example(dims)
    dice, boundary = dice_of(logits, labels), by_hand_boundary(*arrays(logits, labels))
    loss = parse_loss("dice-boundary:alpha=0.6").build()
    at = pytest.approx
    assert loss(logits, labels).item() == at(0.99 * dice + 0.01 * boundary, rel=1e-4)
    set_progress(SumLoss(loss, loss), 50, 101)
    assert loss(logits, labels).item() == at(0.695 * dice + 0.305 * boundary, rel=1e-4)
    set_progress(loss, 100, 101)
    assert loss(logits, labels).item() == at(0.4 * dice + 0.6 * boundary, rel=1e-4)
    set_progress(loss, 0, 1)
    assert loss(logits, labels).item() == at(0.99 * dice + 0.01 * boundary, rel=1e-4)


@dims
def test_both_halves_of_the_hausdorff_loss_count_as_much(dims):
    logits, labels = example(dims)
    leaf = logits.requires_grad_()
    loss = parse_loss("dice-hausdorff-dt").build()(leaf, labels)
    dice, distance = dice_of(logits, labels), by_hand_hausdorff(*arrays(logits.detach(), labels))
    assert loss.item() == pytest.approx(2 * dice, rel=1e-5)
    (found,) = torch.autograd.grad(loss, leaf)
    (of_dice,) = torch.autograd.grad(DiceLoss(to_onehot_y=True, softmax=True)(leaf, labels), leaf)
    nudge = torch.randn(leaf.shape, generator=torch.manual_seed(0))
    step = 1e-4  # the slope of the distances' loss, by two calls of the reference
    above, below = (
        by_hand_hausdorff(*arrays((leaf + sign * step * nudge).detach(), labels))
        for sign in (1, -1)
    )
    slope = (above - below) / (2 * step) * dice / distance
    expected = (of_dice * nudge).sum().item() + slope
    assert (found * nudge).sum().item() == pytest.approx(expected, rel=1e-2)


def test_the_unified_focal_loss_is_monais_for_two_classes():
    logits, labels = example("2D", classes=2)
    probabilities, one_hot = logits.softmax(1), F.one_hot(labels[:, 0].long()).movedim(-1, 1)
    for share, factor in ((0, 1), (1, 2)):  # MONAI's mean is over the classes, too
        theirs = AsymmetricUnifiedFocalLoss(weight=share, delta=0.6, gamma=0.5)
        ours = parse_loss(f"unified-focal:share={share}").build()
        expected = factor * theirs(probabilities, one_hot.float())
        torch.testing.assert_close(ours(logits, labels), expected, rtol=1e-4, atol=1e-6)


def test_the_lovasz_loss_of_a_sure_prediction_is_the_jaccard_loss():
    _, labels = example("2D")
    _, other = example("2D")
    other = other.roll(2, -1)
    sure = 60 * F.one_hot(other[:, 0].long()).movedim(-1, 1).float()
    _, truth = arrays(sure, labels)
    _, found = arrays(sure, other)
    expected = [
        jaccard_loss(truth[:, c] != found[:, c], truth[:, c] > 0) for c in range(truth.shape[1])
    ]
    loss = parse_loss("lovasz").build()(sure, labels)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_dice_and_the_hardest_voxels():
    logits, labels = example("3D")
    hardest = F.cross_entropy(logits, labels[:, 0].long(), reduction="none").flatten().sort().values
    expected = dice_of(logits, labels) + hardest[-105:].mean().item()
    loss = parse_loss("dice-top-k:percent=25").build()(logits, labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def ready(name):
    loss = f"{name}:radius=1" if name.startswith("dbce") else name
    return parse_loss(loss)


@dims
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("what", ["background", "one class", "perfect", "lost"])
def test_nothing_to_find_gives_a_finite_gradient(dims, name, what):
    logits, labels = example(dims)
    if what != "one class":
        labels = torch.zeros_like(labels)
    else:
        labels = labels.clamp(max=1)
        labels[0] = 1  # fills the image
    truth = F.one_hot(labels[:, 0].long(), 3).movedim(-1, 1).float()
    scale = {"perfect": 100.0, "lost": -100.0}.get(what)
    leaf = (logits if scale is None else scale * truth).requires_grad_()
    loss = ready(name).build()(leaf, labels)
    loss.backward()
    assert loss.isfinite()
    assert leaf.grad.isfinite().all()
    if what == "background":
        assert leaf.grad.abs().max() > 0


@dims
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "unified-focal"])
def test_every_loss_takes_masks_that_overlap(dims, name):
    logits, masks = example(dims, masks=True)
    setting = Setting(overlapping=True, num_outputs=3)
    for target in (masks, torch.zeros_like(masks)):
        leaf = logits.clone().requires_grad_()
        loss = ready(name).build(setting)(leaf, target)
        loss.backward()
        assert leaf.grad.isfinite().all()
        # Without any foreground all of MONAI's weights of the generalised Dice are 1 / 0.
        assert leaf.grad.any() or (name == "generalised-dice" and not target.any())
    with pytest.raises(ValueError, match="is for classes that do not overlap"):
        parse_loss("unified-focal").build(setting)


@dims
@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("masks", [False, True])
def test_ignored_voxels_have_no_gradient_and_their_content_does_not_matter(dims, name, masks):
    if masks and name == "unified-focal":
        return
    logits, target = example(dims, masks=masks)
    target[:, :, :3] = 255
    target[1, :, 4] = 255
    loss = parse_loss(name).build(Setting(255, overlapping=masks))
    ignored = (target == 255).expand_as(logits)
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    value.backward()
    other = torch.where(ignored, -logits, logits)
    torch.testing.assert_close(loss(other, target), value)
    assert (leaf.grad[ignored] == 0).all()
    assert (leaf.grad[~ignored] != 0).any()
    nothing = loss(leaf, torch.full_like(target, 255))
    if name != "dice-top-k":
        assert nothing.isfinite()


@pytest.mark.parametrize("name", ["focal", "lovasz", "unified-focal", "dice-cldice"])
def test_ignored_voxels_at_the_side_are_as_if_cut_off(name):
    logits, labels = example("2D")
    if name == "dice-cldice":  # whose skeletons notice the border, but not of a class far from it
        labels[:, :, :6] = 0
    ignoring = labels.clone()
    ignoring[:, :, :3] = 255
    loss, cut = parse_loss(name).build(Setting(255)), parse_loss(name).build()
    if name == "dice-cldice":
        logits[:, 0, :6] += 100
    expected = cut(logits[:, :, 3:], labels[:, :, 3:])
    torch.testing.assert_close(loss(logits, ignoring), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("text", ["ce:weight=0.5:3:1", "dbce:radius=0,weight=0.5:3:1"])
def test_weights_of_classes_are_those_of_pytorch(text):
    logits, labels = example("2D")
    weight = torch.tensor([0.5, 3, 1])
    if text.startswith("dbce"):
        weight /= torch.bincount(labels.flatten())
    expected = F.cross_entropy(logits, labels[:, 0].long(), weight=weight)
    loss = parse_loss(text)
    torch.testing.assert_close(loss.build(Setting(num_outputs=3))(logits, labels), expected)
    assert parse_loss(str(loss)) == loss
    assert loss.title.endswith("weight = 0.5:3:1)")
    logits, masks = example("2D", masks=True)
    expected = F.binary_cross_entropy_with_logits(logits, masks, pos_weight=weight.view(3, 1, 1))
    if text.startswith("ce"):
        torch.testing.assert_close(loss.build(Setting(overlapping=True))(logits, masks), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("focal:gamma=-1", "gamma: got -1, expected 0 or more"),
        ("focal:alpha=1", "got 'alpha=1', expected gamma=..."),
        ("generalised-dice:weights=cubic", "weights: got 'cubic', expected one of square, simple"),
        ("unified-focal:share=2", "share: got 2, expected 0 to 1"),
        ("dice-cldice:iterations=1.5", "iterations: got 1.5, expected a whole number"),
        ("dice-boundary:alpha=nan", "alpha: got nan, expected 0 to 1"),
        ("dice-hausdorff-dt:alpha=inf", "alpha: got inf, expected 0 to 10"),
        ("dice-top-k:percent=0", "percent: got 0"),
        ("lovasz:gamma=1", "expected no parameters"),
        ("boundary", "Did you mean dice-boundary?"),
        ("cldice", "Did you mean dice-cldice?"),
        ("hausdorff-dt", "Did you mean dice-hausdorff-dt?"),
        ("ce:weight=1:a", "expected a number for each class with colons between them"),
        ("ce:weight=1:-1", "weight: got 1:-1, expected numbers of 0 or more, not all 0"),
        ("ce:weight=0:0", "weight: got 0:0, expected"),
        ("dbce:radius=1,weight=nan:1", "weight: got nan:1, expected"),
    ],
)
def test_wrong_parameters_are_named(text, message):
    with pytest.raises(ValueError, match=r".*") as error:
        parse_loss(text)
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["ce:weight=1:5", "dbce:radius=1,weight=1:5"])
def test_too_few_weights_are_named(text):
    with pytest.raises(ValueError, match=r"got 2 numbers \(1:5\), expected 3, one per class"):
        parse_loss(text).build(Setting(num_outputs=3))
    with pytest.raises(ValueError, match="expected 1, one per class that may overlap"):
        parse_loss(text).build(Setting(num_outputs=1, overlapping=True))


def test_titles():
    assert parse_loss("dice-boundary").title == "Dice + boundary"
    assert parse_loss("dice-hausdorff-dt:alpha=1").title == "Dice + Hausdorff DT (alpha = 1)"
    assert parse_loss("unified-focal").settings == {"share": 0.5, "delta": 0.6, "gamma": 0.5}
    assert math.isinf(parse_loss("ce").settings["radius"])
