#!/usr/bin/env python
# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Draw the pictures of the page on simulation, and measure the simulator.

    python benchmarks/simulation_figures.py docs/user_guide/figures
    python benchmarks/simulation_figures.py --measure

``--measure`` prints the speed of the store in galaxies per second of
processor time, and that of a field of 2000 x 2000 pixels.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np

from vaephot.simulate import (
    CASES,
    Cluster,
    FieldConfig,
    draw_blends,
    draw_field,
    write_store,
)

mpl.use('agg')

import matplotlib.pyplot as plt


def _show(ax, image, rms, softening=2.0):
    ax.imshow(np.arcsinh(np.nan_to_num(image) / rms / softening),
              origin='lower', cmap='gray', interpolation='nearest')
    ax.set_axis_off()


def draw_field_figure(path):
    config = FieldConfig(
        shape=(400, 800), clusters=(Cluster(x=600.0, y=200.0),),
        wing_pixels=401, star_density=8.0, star_mags=(15.0, 25.0),
        correlated=True)
    simulated = draw_field(config, seed=4, keep_models=False)
    figure, axes = plt.subplots(2, 1, figsize=(8, 8.2),
                                layout='constrained')
    for ax, k in zip(axes, (0, 3), strict=True):
        _show(ax, simulated.image[k], simulated.sky_rms[k])
        ax.set_title(simulated.bands[k], fontsize=9)
    figure.savefig(path, dpi=75, pil_kwargs={'optimize': True})
    plt.close(figure)
    print(f'{path}: {path.stat().st_size // 1024} kB')


def draw_cases_figure(path, n=4):
    figure, axes = plt.subplots(n, len(CASES), layout='constrained',
                                figsize=(1.3 * len(CASES), 1.35 * n))
    for column, case in zip(axes.T, CASES, strict=True):
        blends = draw_blends(case, n, seed=8)
        for ax, image in zip(column, blends.image[:, 0], strict=True):
            _show(ax, image, blends.sky_rms[0])
        column[0].set_title(case, fontsize=8)
    figure.savefig(path, dpi=75, pil_kwargs={'optimize': True})
    plt.close(figure)
    print(f'{path}: {path.stat().st_size // 1024} kB')


def _processor_seconds(who=resource.RUSAGE_SELF):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def measure():
    for settings in ({'survey': 'euclid-wide'}, {}):
        with tempfile.TemporaryDirectory() as folder:
            begin, wall = _processor_seconds(), time.time()
            write_store(folder, n_shards=2, galaxies_per_shard=600, seed=1,
                        **settings)
            used, wall = _processor_seconds() - begin, time.time() - wall
        print(f'store {settings}: {1200 / used:.0f} galaxies per second of '
              f'one processor ({1200 / wall:.0f} per second by the clock)')
    config = FieldConfig(shape=(2000, 2000), wing_pixels=401,
                         correlated=True)
    begin = time.time()
    simulated = draw_field(config, seed=1, n_workers=2)
    print(f'field: {simulated!r} in {time.time() - begin:.0f} s by the '
          f'clock with two processes')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('output', nargs='?')
    parser.add_argument('--measure', action='store_true')
    args = parser.parse_args()
    if args.output:
        folder = Path(args.output)
        folder.mkdir(parents=True, exist_ok=True)
        draw_field_figure(folder / 'simulated_field.png')
        draw_cases_figure(folder / 'simulated_blends.png')
    if args.measure:
        measure()
