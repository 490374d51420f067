# Copyright (c) MONAI Consortium
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from __future__ import annotations

import io
import math
import unittest
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from parameterized import parameterized
from scipy import ndimage

from dilated_balanced_ce_loss import DilatedBalancedCELoss, dilate_by_ball  # from monai.losses
from monai.networks import one_hot

LINE = torch.tensor([[[0, 0, 0, 0, 1, 0, 0]]])  # B1H
# zero logits, so that the cross entropy is log(2) everywhere
TEST_CASES = [
    # both classes are dilated by 1, to 7 and to 3 voxels: 1/7 each, and 1/3 more around the object
    [{"radius": 1}, [1 / 7, 1 / 7, 1 / 7, 10 / 21, 10 / 21, 10 / 21, 1 / 7]],
    # inverse frequencies
    [{"radius": 0}, [1 / 6, 1 / 6, 1 / 6, 1 / 6, 1, 1 / 6, 1 / 6]],
    # all voxels weigh the same
    [{"radius": math.inf}, [1] * 7],
    [{"radius": 6}, [1] * 7],
    # voxels of 0.5: a radius of 0.5 is that of one voxel
    [
        {"radius": 0.5, "spacing": 0.5},
        [1 / 7, 1 / 7, 1 / 7, 10 / 21, 10 / 21, 10 / 21, 1 / 7],
    ],
    # the object counts twice
    [{"radius": 0, "weight": [1, 2]}, [1 / 6, 1 / 6, 1 / 6, 1 / 6, 2, 1 / 6, 1 / 6]],
    # without the object
    [{"radius": 1, "ignore_index": 1}, [1, 1, 1, 1, 0, 1, 1]],
]

SHAPES = [
    [(2, 3, 30), 3.0, [1.0]],
    [(2, 3, 17, 23), 0.0, [1.0, 1.0]],
    [(2, 3, 17, 23), math.sqrt(13), [1.0, 1.0]],  # exactly at a distance
    [(1, 2, 17, 23), 4.0, [1.5, 0.7]],
    [(2, 2, 7, 12, 11), 3.3, [2.5, 0.8, 1.0]],
    [(2, 2, 7, 12, 11), 40.0, [2.5, 0.8, 1.0]],  # beyond the image
]


class TestDilateByBall(unittest.TestCase):
    @parameterized.expand(SHAPES)
    def test_distance_transform(self, shape, radius, spacing):
        mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.97
        mask[:, -1] = False  # an empty mask stays empty
        result = dilate_by_ball(mask, radius, spacing)
        for image, found in zip(mask.flatten(0, 1).numpy(), result.flatten(0, 1).numpy()):
            expected = np.zeros_like(image)
            if image.any():
                expected = ndimage.distance_transform_edt(~image, sampling=spacing) <= radius
            np.testing.assert_array_equal(found, expected)


class TestDilatedBalancedCELoss(unittest.TestCase):
    @parameterized.expand(TEST_CASES)
    def test_weights(self, input_param, expected):
        loss = DilatedBalancedCELoss(reduction="none", **input_param)(torch.zeros(1, 2, 7), LINE)
        expected = torch.tensor(expected, dtype=torch.float32)
        expected = expected / expected[expected > 0].mean() * math.log(2)
        np.testing.assert_allclose(loss[0, 0].numpy(), expected.numpy(), rtol=1e-5)

    def test_between_balanced_and_plain_cross_entropy(self):
        input = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        target = torch.randint(3, (2, 1, 16, 16), generator=torch.Generator().manual_seed(1))
        weight = 1 / torch.bincount(target.flatten(), minlength=3)
        balanced = F.cross_entropy(input, target[:, 0], weight=weight)
        plain = F.cross_entropy(input, target[:, 0])
        for radius, expected in ((0, balanced), (math.inf, plain)):
            loss = DilatedBalancedCELoss(radius)(input, target)
            np.testing.assert_allclose(loss.numpy(), expected.numpy(), rtol=1e-5)

    def test_one_hot(self):
        input = torch.randn(2, 3, 8, 8, 8)
        target = torch.randint(3, (2, 1, 8, 8, 8))
        for ignore_index in (None, 0):
            loss = DilatedBalancedCELoss(2, ignore_index=ignore_index)
            encoded = one_hot(target, num_classes=3)
            np.testing.assert_array_equal(loss(input, target), loss(input, encoded))

    def test_reductions(self):
        input, target = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 1, 8, 8))
        target[0, 0, :2] = 255
        options = {"radius": 2, "ignore_index": 255}
        none = DilatedBalancedCELoss(reduction="none", **options)(input, target)
        self.assertEqual(none.shape, target.shape)
        self.assertTrue((none[0, 0, :2] == 0).all())
        total = DilatedBalancedCELoss(reduction="sum", **options)(input, target)
        mean = DilatedBalancedCELoss(**options)(input, target)
        np.testing.assert_allclose(total, none.sum(), rtol=1e-5)
        np.testing.assert_allclose(mean, none.sum() / (target != 255).sum(), rtol=1e-5)

    def test_gradient(self):
        input = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
        target = torch.randint(3, (2, 1, 6, 6))
        target[0, 0, 0] = 255
        loss = DilatedBalancedCELoss(1.5, ignore_index=255)
        self.assertTrue(torch.autograd.gradcheck(lambda x: loss(x, target), (input,)))
        loss(input, target).backward()
        self.assertTrue((input.grad[0, :, 0] == 0).all())

    def test_nothing_valid_and_half_precision(self):
        input = torch.randn(1, 2, 4, 4, requires_grad=True)
        loss = DilatedBalancedCELoss(1, ignore_index=7)(input, torch.full((1, 1, 4, 4), 7))
        loss.backward()
        self.assertEqual((loss.item(), input.grad.abs().max().item()), (0, 0))
        large = torch.zeros(1, 1, 400, 400, dtype=torch.long)  # 160,000 is no float16
        large[..., 200, 200] = 1
        result = DilatedBalancedCELoss(1)(torch.zeros(1, 2, 400, 400, dtype=torch.float16), large)
        np.testing.assert_allclose(result, math.log(2), rtol=1e-4)

    def test_ill_arguments(self):
        for options in (
            {"radius": -1},
            {"radius": math.nan},
            {"radius": 1, "spacing": [1, 0]},
            {"radius": 1, "weight": [1, -1]},
            {"radius": 1, "reduction": "median"},
        ):
            with self.assertRaises(ValueError):
                DilatedBalancedCELoss(**options)

    def test_ill_shapes(self):
        input, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4)
        for loss, wrong_input, wrong_target in (
            (DilatedBalancedCELoss(1), torch.zeros(1, 1, 4, 4), target),
            (DilatedBalancedCELoss(1), input, torch.zeros(1, 2, 4, 4)),
            (DilatedBalancedCELoss(1), input, torch.zeros(1, 1, 4, 5)),
            (DilatedBalancedCELoss(1), input, torch.zeros(2, 1, 4, 4)),
            (DilatedBalancedCELoss(1, spacing=[1, 1, 1]), input, target),
            (DilatedBalancedCELoss(1, weight=[1, 1]), input, target),
        ):
            with self.assertRaises(ValueError):
                loss(wrong_input, wrong_target)

    def test_script(self):
        # in MONAI: test_script_save(loss, *test_input)
        input, target = torch.randn(2, 3, 8, 8), torch.randint(3, (2, 1, 8, 8))
        for options in ({"radius": 2.5}, {"radius": 1, "weight": [1, 2, 1], "ignore_index": 0}):
            loss = DilatedBalancedCELoss(**options)
            buffer = io.BytesIO()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript itself
                torch.jit.save(torch.jit.script(loss), buffer)
                buffer.seek(0)
                scripted = torch.jit.load(buffer)
            np.testing.assert_array_equal(scripted(input, target), loss(input, target))


if __name__ == "__main__":
    unittest.main()
