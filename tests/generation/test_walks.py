"""Walks are loops through what they are given, without jumps."""

import numpy as np
import pytest
import scipy.ndimage

from generation.walks import gaussian_walk, slerp_walk, spline_walk


def largest_step(walk):
    return np.linalg.norm(np.diff(walk, axis=0, append=walk[:1]), axis=1).max()


@pytest.mark.parametrize("smoothing", [0.5, 3.0, 40.0])
def test_gaussian_walk_is_that_of_the_originals(smoothing):
    walk = gaussian_walk(60, 8, smoothing, seed=3)
    filtered = scipy.ndimage.gaussian_filter(np.random.RandomState(3).randn(60, 8), [smoothing, 0], mode="wrap")
    expected = filtered / np.sqrt(np.square(filtered).mean(1, keepdims=True))
    np.testing.assert_allclose(walk, expected, atol=1e-9)


@pytest.mark.parametrize("walk", [spline_walk, slerp_walk])
def test_walks_pass_through_their_keys_and_return(walk):
    keys = np.random.RandomState(0).randn(4, 8)
    points = walk(keys, 80)
    np.testing.assert_allclose(points[::20], keys, atol=1e-9)
    assert largest_step(points) < 0.35 * largest_step(keys)


def test_slerp_stays_as_far_from_the_origin_as_its_keys():
    keys = np.random.RandomState(0).randn(3, 64)
    lengths = np.linalg.norm(keys, axis=1)
    points = np.linalg.norm(slerp_walk(keys, 30), axis=1)
    assert lengths.min() - 1e-9 <= points.min() and points.max() <= lengths.max() + 1e-9


def test_spline_walk_has_no_corners():
    keys = np.random.RandomState(0).randn(3, 2)
    velocity = np.diff(spline_walk(keys, 3000), axis=0)
    assert np.abs(np.diff(velocity, axis=0)).max() < 0.01 * np.abs(velocity).max()


@pytest.mark.parametrize("walk", [spline_walk, slerp_walk])
def test_one_key_is_a_still(walk):
    key = np.random.RandomState(0).randn(1, 8)
    np.testing.assert_allclose(walk(key, 5), np.repeat(key, 5, 0))


def test_walks_of_w_keep_its_layers():
    assert spline_walk(np.zeros((3, 6, 8)), 10).shape == (10, 6, 8)
