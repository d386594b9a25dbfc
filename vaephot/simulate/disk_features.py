# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
What disks have beyond a smooth law: knots, spiral arms and bars.

Knots and arms are clouds of Gaussian blobs in the plane of the disk, in
units of its half-light radius; a bar is a flat elliptical Sersic law.
"""

from dataclasses import dataclass

import numpy as np

from vaephot.simulate._checks import check_count, check_number
from vaephot.simulate.transforms import EXPONENTIAL_RADIUS

__all__ = ['Structure', 'arm_cloud', 'draw_structure', 'knot_cloud']

# Blobs are this wide (sigma over half-light radius of the disk): arms,
# and the range of knots (HII regions and associations of 0.1 to 0.5 kpc
# in disks of 3 to 5 kpc).
ARM_WIDTH = 0.16
KNOT_WIDTH = 0.06

# Arms reach from the end of the bar or bulge to here, in half-light
# radii, in so many blobs per arm.
ARM_RANGE = (0.35, 2.4)
ARM_BLOBS = 30
# Random scatter of the blobs about a perfect arm, in their widths.
ARM_SCATTER = 0.35

# Shape of a bar: Sersic index, axis ratio within the disk.
BAR_INDEX = 0.5
BAR_AXIS_RATIO = 0.35

# Shares of disks that have each structure, and ranges of their numbers.
# Half of bright disks are barred, a third of them strongly (Sheth et al.
# 2008 for redshifts below 0.8); most are spiral. The shares here are
# lower, for a mock of all redshifts.
KNOT_SHARE = 0.35
ARM_SHARE = 0.30
BAR_SHARE = 0.20
KNOT_FRACTION = (0.02, 0.25)
KNOT_NUMBERS = (4, 40)
ARM_FRACTION = (0.10, 0.45)
ARM_NUMBERS = (2, 2, 2, 3, 4)
ARM_PITCH_DEG = (10.0, 35.0)
BAR_FRACTION = (0.05, 0.30)
BAR_RADIUS = (0.25, 0.70)


@dataclass(frozen=True, kw_only=True)
class Structure:
    """
    Knots, arms and a bar of a disk; shares are of the disk's light.

    Parameters
    ----------
    knot_fraction : float, optional
        Share of the star-forming knots.
    n_knots : int, optional
        Number of knots.
    arm_fraction : float, optional
        Share of the spiral arms, beyond the smooth disk between them.
    n_arms : int, optional
        Number of arms.
    pitch_deg : float, optional
        Angle between an arm and a circle; negative winds the other way.
    bar_fraction : float, optional
        Share of the bar.
    bar_radius : float, optional
        Half-light radius of the bar along its length over that of the
        disk.
    bar_angle : float, optional
        Direction of the bar in the plane of the disk, from its major
        axis, in radians.
    seed : int, optional
        Seed of the places of knots and blobs.
    """

    knot_fraction: float = 0.0
    n_knots: int = 0
    arm_fraction: float = 0.0
    n_arms: int = 2
    pitch_deg: float = 20.0
    bar_fraction: float = 0.0
    bar_radius: float = 0.4
    bar_angle: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name in ('knot_fraction', 'arm_fraction', 'bar_fraction'):
            check_number('a structure', name, getattr(self, name))
        check_number('a structure', 'the sum of the shares',
                     1 - self.smooth_fraction, high=1.0 + 1e-9)
        if self.knot_fraction > 0:
            check_count('a structure', 'n_knots', self.n_knots, low=1)

    @property
    def smooth_fraction(self):
        """Share of the disk's light in the smooth law."""
        return (1 - self.knot_fraction - self.arm_fraction
                - self.bar_fraction)


def _centred(points, weights):
    """Move a cloud so that its centroid is the origin."""
    return points - weights @ points


def arm_cloud(structure):
    """
    Blobs along logarithmic spiral arms.

    Parameters
    ----------
    structure : `Structure`
        Number, pitch and seed of the arms.

    Returns
    -------
    points : ndarray (n, 2)
        In half-light radii of the disk, centroid at the origin.
    weights : ndarray (n,)
        Of sum 1; they fall outwards as the disk does.
    """
    rng = np.random.default_rng([structure.seed, 1])
    radius = np.geomspace(*ARM_RANGE, ARM_BLOBS)
    angle = (np.log(radius / ARM_RANGE[0])
             / np.tan(np.deg2rad(structure.pitch_deg)))
    start = 2 * np.pi * np.arange(structure.n_arms) / structure.n_arms
    angle = (structure.bar_angle + start[:, None] + angle).ravel()
    radius = np.tile(radius, structure.n_arms)
    points = radius[:, None] * np.column_stack([np.cos(angle),
                                                np.sin(angle)])
    points += rng.normal(0, ARM_SCATTER * ARM_WIDTH, points.shape)
    # light per step of log radius, with some patches brighter
    weights = radius ** 2 * np.exp(-EXPONENTIAL_RADIUS * radius)
    weights = weights * rng.gamma(4.0, size=len(weights))
    weights /= weights.sum()
    return _centred(points, weights), weights


def knot_cloud(structure):
    """
    Star-forming knots, half of them on the arms if there are any.

    Parameters
    ----------
    structure : `Structure`
        Number and seed of the knots.

    Returns
    -------
    points : ndarray (n, 2)
        In half-light radii of the disk, centroid at the origin.
    weights : ndarray (n,)
        Of sum 1, from a power law as of HII regions.
    """
    rng = np.random.default_rng([structure.seed, 2])
    n = structure.n_knots
    # radii of an exponential disk are a gamma distribution of shape 2
    radius = rng.gamma(2.0, 1 / EXPONENTIAL_RADIUS, n)
    angle = rng.uniform(0, 2 * np.pi, n)
    points = radius[:, None] * np.column_stack([np.cos(angle),
                                                np.sin(angle)])
    if structure.arm_fraction > 0:
        arms, weights = arm_cloud(structure)
        on = rng.random(n) < 0.5
        near = rng.choice(len(arms), n, p=weights)
        points[on] = (arms[near] + rng.normal(0, ARM_WIDTH, (n, 2)))[on]
    # luminosities fall as L**-2 over a factor of 20 (Kennicutt et al.
    # 1989, ApJ 337, 761)
    weights = 1 / (1 - rng.random(n) * (1 - 1 / 20))
    weights /= weights.sum()
    return _centred(points, weights), weights


def draw_structure(rng):
    """
    Draw the structure of a disk.

    Parameters
    ----------
    rng : `numpy.random.Generator`
        Source of randomness; always the same number of draws.

    Returns
    -------
    `Structure`
        Perhaps without any.
    """
    has_knots, has_arms, has_bar = rng.random(3) < (KNOT_SHARE, ARM_SHARE,
                                                    BAR_SHARE)
    u = rng.random(7)
    seed = int(rng.integers(2 ** 30))

    def between(limits, k):
        return float(limits[0] + u[k] * (limits[1] - limits[0]))

    knots = has_knots or has_arms
    low, high = KNOT_NUMBERS
    pitch = between(ARM_PITCH_DEG, 0) * (1 if u[1] < 0.5 else -1)
    return Structure(
        knot_fraction=between(KNOT_FRACTION, 2) if knots else 0.0,
        n_knots=int(low + u[3] * (high - low + 1)) if knots else 0,
        arm_fraction=between(ARM_FRACTION, 4) if has_arms else 0.0,
        n_arms=ARM_NUMBERS[int(2 * u[1] % 1 * len(ARM_NUMBERS))],
        pitch_deg=pitch, bar_radius=between(BAR_RADIUS, 5),
        bar_fraction=between(BAR_FRACTION, 6) if has_bar else 0.0,
        bar_angle=float(np.pi * (2 * u[6] % 1)), seed=seed)
