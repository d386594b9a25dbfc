# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""A mosaic of any size from files to a catalogue, in tiles on Dask."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from vaephot import __version__
from vaephot.deblend.deblender import VAEDeblender
from vaephot.scale.cluster import open_client, run_jobs
from vaephot.scale.first_pass import join_sky, measure_section
from vaephot.scale.journal import Journal, basis_of, configuration
from vaephot.scale.ownership import finish_tile
from vaephot.scale.seams import join_parents, label_section
from vaephot.scale.streamed_fits import merge_images
from vaephot.scale.survey_page import write_page
from vaephot.scale.survey_plan import ERROR_POWERS, make_plan
from vaephot.scale.tile_work import (
    deblend_large,
    deblend_tile,
    large_parents,
    load_parents,
)
from vaephot.scale.tiles import shared_width
from vaephot.utils.optional_deps import import_optional
from vaephot.weights import load_weights

__all__ = ['SurveyResult', 'deblend_mosaic']

IMAGES = ('model', 'residual')
# smallest tile in pixels: less is all halo
MIN_TILE = 64


@dataclass(frozen=True, kw_only=True)
class SurveyResult:
    """
    Where the results of a mosaic are.

    Parameters
    ----------
    catalog : pathlib.Path
        Folder of the catalogue, one Parquet file for each tile.
    label_map : pathlib.Path
        Label image of the sources.
    images : dict of pathlib.Path
        Model and residual images by their names.
    page : pathlib.Path
        Summary.
    n_sources : int
        Rows of the catalogue.
    failed : dict of str
        Why tiles were set aside, by their numbers.
    """

    catalog: Path
    label_map: Path
    images: dict
    page: Path
    n_sources: int
    failed: dict


def _results(records):
    """Records by number without what the jobs used."""
    return {number: {name: value for name, value in record.items()
                     if name != 'used'} for number, record in records.items()}


class _Run:
    """One run: a plan, a journal and a client."""

    def __init__(self, plan, journal, client, quiet):
        self.plan, self.journal = plan, journal
        self.client, self.quiet = client, quiet
        self.failed = {}

    def stage(self, function, name, numbers, basis=''):
        """Run what is left of the jobs of a stage; records of those done."""
        numbers = list(numbers)
        n_jobs = max(numbers, default=-1) + 1
        done = self.journal.done(name, n_jobs, basis)
        left = [k for k in numbers if k not in done]
        with _Bar(name, len(left), self.quiet) as bar:
            failed = run_jobs(
                self.client, function, self.plan, name, left,
                lambda k, record: self.journal.add(name, k, record, basis),
                progress=bar)
        self.failed |= {f'{name} {k}': why for k, why in failed.items()}
        return self.journal.done(name, n_jobs, basis)

    def first_pass(self):
        """
        Measure noise and find parents; the plan knows of them then.

        Returns what stands for all that was found.
        """
        sections = range(len(self.plan.sections))
        found = self.stage(measure_section, 'sky', sections)
        self.plan = replace(self.plan, sky=join_sky(
            self.plan, [found.get(k, {}) for k in sections]))
        if self.plan.halo is None:
            self.plan = replace(self.plan, halo=shared_width(
                self.plan.sky.psf_fwhm))
        basis = basis_of(_results(found))
        labelled = self.stage(label_section, 'labels', sections, basis)
        basis = basis_of([basis, _results(labelled)])
        if not self.journal.done('parents', 1, basis):
            parents = join_parents(self.plan, labelled)
            parents.save(self.plan.path('work', 'parents.npz'))
            for path in self.plan.path('work', 'large').iterdir():
                path.unlink()  # of other parents
            self.journal.add('parents', 0, {'n': len(parents.label)}, basis)
        return basis

    def tiles(self, basis):
        """Fit large parents and tiles; what stands for them, and records."""
        parents = load_parents(self.plan)
        large, too_large = large_parents(self.plan, parents)
        self.failed |= {
            f'parent {parents.label[row]}': f'{parents.side[row]} pixels '
            'long, too large for one window; choose larger tiles'
            for row in too_large.tolist()}
        fitted = self.stage(deblend_large, 'large', range(len(large)), basis)
        basis = basis_of([basis, sorted(fitted)])
        records = self.stage(deblend_tile, 'tile',
                             range(len(self.plan.tiles)), basis)
        basis = basis_of([basis, sorted(records)])
        final = self.stage(finish_tile, 'final', sorted(records), basis)
        write_page(self.plan, records, self.failed,
                   sum(row['sources'] for row in final.values()))
        return basis_of([basis, sorted(final)]), final

    def images(self, basis):
        """Put the images together; their paths by name."""
        names = ('labels', *self.plan.images)
        paths = {name: self.plan.path(f'{name}.fits') for name in names}
        done = self.journal.done('images', 1, basis)
        if not done or not all(path.exists() for path in paths.values()):
            merge_images(self.plan)
            self.journal.add('images', 0, {}, basis)
        return paths


class _Bar:
    """Progress of a stage: jobs, time left, and sources per second."""

    def __init__(self, name, n_jobs, quiet):
        self.bar = tqdm(total=n_jobs, desc=name, unit='job',
                        disable=quiet or not n_jobs)
        self.start, self.sources = time.monotonic(), 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()

    def __call__(self, number, record):
        """Count a job."""
        self.sources += record.get('sources', 0)
        if self.sources:
            rate = self.sources / (time.monotonic() - self.start)
            self.bar.set_postfix_str(f'{rate:.0f} sources/s', refresh=False)
        self.bar.update()


def _check_arguments(tile, halo, write_images, error_type, settings):
    """Raise for what cannot be meant."""
    if tile < MIN_TILE:
        msg = f'tile is {tile}; it must be at least {MIN_TILE} pixels.'
        raise ValueError(msg)
    if halo is not None and halo < 1:
        msg = f'halo is {halo}; it must be at least 1 pixel, or None.'
        raise ValueError(msg)
    unknown = sorted(set(write_images) - set(IMAGES))
    if unknown:
        msg = (f'write_images has {unknown[0]!r}; it may have '
               f'{" and ".join(map(repr, IMAGES))}.')
        raise ValueError(msg)
    if error_type not in ERROR_POWERS:
        msg = (f'error_type is {error_type!r}; it must be one of '
               f'{", ".join(map(repr, ERROR_POWERS))}.')
        raise ValueError(msg)
    VAEDeblender(**{**settings, 'device': 'cpu'})


def deblend_mosaic(images, output, *, tile=2048, halo=None, bands=None,
                   error=None, error_type='rms', mask=None, mask_bits=None,
                   psf=None, gain=None, zeropoint=None, segmentation=None,
                   positions=None, write_images=(), client=None,
                   scheduler=None, workers=None, threads=1, gpus=0,
                   quiet=False, **settings):
    """
    Deblend a mosaic of any size, tile by tile, on Dask.

    Only sections of the files are read. A first pass measures the noise and
    finds the parents of the whole mosaic; then each tile is deblended with a
    halo around it. A source belongs to the tile whose core holds its centre.
    What is done is kept: the same call on the same output goes on where an
    earlier one ended, however that was.

    Parameters
    ----------
    images : path-like, sequence or dict
        Background-subtracted images on one pixel grid, up to offsets of
        whole pixels: one FITS file per band, or a list of overlapping files
        per band; one file with a cube or with an extension for each of
        ``bands``; or any of these by band. ``file.fits[EXT]`` names an
        extension. Addresses such as ``s3://...`` are read where fsspec is
        installed.
    output : path-like
        Folder of the results; new, empty, or of an earlier run with the
        same arguments.
    tile : int, optional
        Side of the cores in pixels.
    halo : int or None, optional
        Pixels around a core that are seen with it. `None`: 12 FWHM of the
        widest PSF, at least 64. A window grows to hold parents that reach
        further; those larger than four halos are fitted alone, before the
        tiles.
    bands : sequence of str or None, optional
        Names of the bands; `None`: those of a dict, or numbers.
    error : number, sequence, path-like or dict, optional
        1-sigma noise: numbers, or files as for ``images``. `None`:
        estimated, place by place.
    error_type : {'rms', 'var', 'ivar'}, optional
        What the files of ``error`` hold.
    mask : path-like, sequence or dict, optional
        Files of bad pixels, as for ``images``.
    mask_bits : int or None, optional
        Bits that mark bad pixels. `None`: all.
    psf : object, optional
        One per band: a file, or what `~vaephot.VAEDeblender` takes; in
        pixels of the mosaic where it varies. `None`: estimated.
    gain : number, sequence, ``'header'`` or str, optional
        Electrons per unit of data, or the keyword of the headers.
    zeropoint : number or sequence, optional
        AB magnitude of one unit; `None`: of the headers.
    segmentation : path-like or list, optional
        Label image of the parents. `None`: they are detected.
    positions : `~astropy.table.Table`, `~astropy.coordinates.SkyCoord` or \
            array_like (n, 2), optional
        Sources, in pixels of the mosaic or on the sky, which are then not
        searched for.
    write_images : sequence of str, optional
        Images to write besides the label map: ``'model'``, ``'residual'``.
    client : `distributed.Client` or None, optional
        Dask client. `None` starts workers on this machine.
    scheduler : str or None, optional
        Address of a Dask scheduler to use instead.
    workers, threads : int, optional
        Worker processes, one per core if `None`, and threads in each.
    gpus : int, optional
        GPUs of this machine to use, one worker each.
    quiet : bool, optional
        Whether to show no progress.
    **settings
        Settings of `~vaephot.VAEDeblender`.

    Returns
    -------
    SurveyResult

    Raises
    ------
    OutputExistsError
        If the output holds something else or another configuration.
    VaephotError
        If files or arguments do not fit together, or the disk is full.
    MissingDependencyError
        Without Dask and pyarrow: install the extra ``scale``.

    Examples
    --------
    >>> from vaephot.scale import deblend_mosaic
    >>> found = deblend_mosaic(
    ...     {'VIS': 'vis.fits', 'H': 'h.fits'}, 'survey',
    ...     error={'VIS': 'vis_rms.fits', 'H': 'h_rms.fits'},
    ...     psf={'VIS': 1.7, 'H': 5.2}, workers=4)  # doctest: +SKIP
    """
    _check_arguments(tile, halo, write_images, error_type, settings)
    if gpus and not (client is None and scheduler is None):
        msg = ('gpus is for workers that are started on this machine; leave '
               'out gpus, or client and scheduler.')
        raise ValueError(msg)
    import_optional('pyarrow', 'deblending a mosaic in tiles')
    weights = load_weights(settings.get('weights')).record
    plan = make_plan(
        images, output, bands=bands, error=error, error_type=error_type,
        mask=mask, mask_bits=mask_bits, psf=psf, gain=gain,
        zeropoint=zeropoint, segmentation=segmentation, positions=positions,
        tile=tile, halo=halo, write_images=write_images,
        settings={**settings, 'n_gpus': gpus})
    journal = Journal(Path(plan.output), configuration(
        plan, version=__version__, weights_sha256=weights.sha256))
    with open_client(client, scheduler=scheduler, workers=workers,
                     threads=threads, gpus=gpus) as opened:
        if not quiet and opened.dashboard_link:
            tqdm.write(f'dashboard: {opened.dashboard_link}', sys.stderr)
        run = _Run(plan, journal, opened, quiet)
        basis, final = run.tiles(run.first_pass())
        paths = run.images(basis)
    return SurveyResult(
        catalog=plan.path('catalog'), label_map=paths.pop('labels'),
        images=paths, page=plan.path('summary.html'),
        n_sources=sum(row['sources'] for row in final.values()),
        failed=run.failed)
