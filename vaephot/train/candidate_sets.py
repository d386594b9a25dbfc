# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Candidates of sources with their features, and what each is in truth.

Images with known sources are searched as those of users are. What the search
proposes, and what is left after each round of dropping, is recorded: the
classifier has to tell sources in both.
"""

from dataclasses import dataclass, field, fields

import numpy as np
from astropy.convolution import Gaussian2DKernel, convolve_fft
from astropy.stats import gaussian_fwhm_to_sigma
from photutils.psf import ImagePSF
from photutils.segmentation import SegmentationImage
from scipy.spatial import cKDTree

from vaephot.deblend.detect.candidates import choose_sources
from vaephot.deblend.detect.stack import detect, segments_of
from vaephot.deblend.detect.stars import PointSources
from vaephot.deblend.fit.engine import Engine
from vaephot.deblend.fit.problem import FitSettings
from vaephot.deblend.inputs.read import prepare_observation
from vaephot.deblend.select.features import compare, measure_features
from vaephot.deblend.select.host_test import find_pairs, host_gains
from vaephot.deblend.select.loop import drop_doubtful, search_residual
from vaephot.deblend.select.score import Scorer
from vaephot.deblend.settings import SearchSettings
from vaephot.exceptions import TrainingError
from vaephot.utils.atomic import atomic_write
from vaephot.utils.rows import Rows

__all__ = ['CandidateStore', 'Candidates', 'collect_candidates',
           'true_sources']

# a candidate is a source within this distance, in pixels and in FWHM
MAX_DISTANCE, MAX_DISTANCE_FWHM = 3.0, 0.8
# share of the false candidates that stay in the second look without a
# classifier, whose mistakes they stand for
KEPT_SHARE = 0.25
# share of the candidates of the first look that are compared with their hosts
COMPARED_SHARE = 0.3
# share of the images whose residuals are searched
ROUNDS_SHARE = 0.75
# detection as photutils' guide has it: FWHM of the kernel in pixels, and
# threshold in units of the noise
GUIDE_FWHM, GUIDE_THRESHOLD = 3.0, 1.5
SEARCH = {'n_pixels': 5, 'contrast': 0.001, 'n_levels': 32,
          'mode': 'exponential', 'connectivity': 8}


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates(Rows):
    """
    Candidates of sources.

    Parameters
    ----------
    features : `numpy.ndarray`, (n, n_features)
        As `~vaephot.deblend.select.features.measure_features` has them.
    is_source, is_point : `numpy.ndarray` of bool, (n,)
        What they are in truth; a point only if a source.
    seed : `numpy.ndarray` of int, (n,)
        Of the image.
    kind : `numpy.ndarray` of str, (n,)
        Of the image.
    look : `numpy.ndarray` of int, (n,)
        0 for what is proposed, then each round of dropping.
    """

    features: np.ndarray = field(repr=False)
    is_source: np.ndarray = field(repr=False)
    is_point: np.ndarray = field(repr=False)
    seed: np.ndarray = field(repr=False)
    kind: np.ndarray = field(repr=False)
    look: np.ndarray = field(repr=False)

    def __len__(self):
        return len(self.seed)


class CandidateStore:
    """
    Candidates of many images, a file each.

    Parameters
    ----------
    path : `~pathlib.Path`
        Folder; made if absent.
    weights_sha256 : str
        Hash of the weights that searched the images.

    Raises
    ------
    TrainingError
        If the folder holds candidates of other weights.
    """

    def __init__(self, path, weights_sha256):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        note = path / 'weights.txt'
        if not note.exists():
            note.write_text(weights_sha256, encoding='utf-8')
        if note.read_text(encoding='utf-8') != weights_sha256:
            msg = (f'{path} holds candidates of other weights; choose an '
                   f'empty folder.')
            raise TrainingError(msg, path=path)

    def _file(self, seed):
        return self.path / f'{seed}.npz'

    def __contains__(self, seed):
        return self._file(seed).exists()

    def add(self, seed, candidates):
        """
        Write the candidates of an image.

        Parameters
        ----------
        seed : int
            Of the image.
        candidates : Candidates
            May be none at all.
        """
        with atomic_write(self._file(seed)) as temporary, temporary.open(
                'wb') as file:
            np.savez_compressed(file, **{
                item.name: getattr(candidates, item.name)
                for item in fields(candidates)})

    def read(self):
        """
        All candidates, by their seeds.

        Returns
        -------
        Candidates
        """
        parts = []
        for path in sorted(self.path.glob('*.npz')):
            with np.load(path, allow_pickle=False) as file:
                parts.append(dict(file))
        return Candidates(**{name: np.concatenate([p[name] for p in parts])
                             for name in parts[0]})


def true_sources(xy, true_xy, reach):
    """
    The true source that each candidate is, (n,), or -1.

    Each true source is at most the nearest of the candidates (n, 2) for
    which it is the nearest of all (m, 2), within a reach.
    """
    distance, nearest = cKDTree(true_xy).query(xy)
    order = np.argsort(distance, kind='stable')
    _, first = np.unique(nearest[order], return_index=True)
    best = order[first]
    best = best[distance[best] < reach]
    out = np.full(len(xy), -1)
    out[best] = nearest[best]
    return out


class _Looks:
    """Records of the scenes of one image."""

    def __init__(self, image, seed, fwhm):
        self.image, self.seed = image, seed
        self.reach = max(MAX_DISTANCE, MAX_DISTANCE_FWHM * fwhm)
        self.parts = []

    def truth(self, scene):
        """The true source that each one is, or -1."""
        return true_sources(scene.fit.parameters[:, :2], self.image.xy,
                            self.reach)

    def add(self, scene, features):
        """Record a scene."""
        truth, n = self.truth(scene), len(scene)
        self.parts.append(Candidates(
            features=features.astype(np.float32), is_source=truth >= 0,
            is_point=(truth >= 0) & self.image.is_star[truth],
            seed=np.full(n, self.seed), kind=np.full(n, self.image.kind),
            look=np.full(n, len(self.parts))))

    def all(self):
        """All that was recorded."""
        out = self.parts[0]
        for part in self.parts[1:]:
            out = out.join(part)
        return out


class _RecordingScorer(Scorer):
    """A scorer that records what it scores."""

    def __init__(self, engine, classifier, looks):
        super().__init__(engine, classifier)
        self.looks = looks

    def features(self, scene):
        features = super().features(scene)
        self.looks.add(scene, features)
        return features


def _detect_as_guide(image):
    """Segments of the first band as photutils' guide detects them."""
    kernel = Gaussian2DKernel(GUIDE_FWHM * gaussian_fwhm_to_sigma)
    smooth = convolve_fft(image.data[0], kernel, allow_huge=True)
    bright = (smooth > GUIDE_THRESHOLD * image.sky_rms[0]) & ~image.mask[0]
    return segments_of(bright, SEARCH['n_pixels'])


def _make_engine(image, vae, rng):
    """Engine of an image, its parents detected in one of two ways."""
    scale = image.oversampling ** 2
    psfs = [ImagePSF(psf / psf.sum() * scale,
                     oversampling=image.oversampling) for psf in image.psf]
    observation = prepare_observation(
        image.data, error=image.sky_rms, gain=image.gain, mask=image.mask,
        psf=psfs, bands=image.bands)
    found = (detect(observation.reference, SEARCH['n_pixels'])
             if rng.random() < 0.5 else _detect_as_guide(image))
    if found is None:
        found = SegmentationImage(np.zeros(image.data.shape[1:], int))
    return Engine(observation, found, vae, FitSettings()).quick()


def _features(engine, scene, rng, share):
    """Features of a scene, a share of hosts and sources compared."""
    pairs = find_pairs(engine, scene)
    pairs = pairs.take(rng.random(len(pairs.rows)) < share)
    return compare(measure_features(engine, scene), pairs.rows,
                   host_gains(engine, scene, pairs))


def collect_candidates(image, seed, vae, classifier=None):
    """
    Search an image, and record all candidates.

    Parameters
    ----------
    image : LabelledImage
        Image with known sources, as
        `vaephot.simulate.scenes.draw_labelled_image` draws them.
    seed : int
        Its seed, which also decides how parents are detected and whether
        the residual is searched.
    vae : `~vaephot.models.vae.VAE`
        Decoder and prior.
    classifier : `~vaephot.models.classifier.SourceClassifier`, optional
        What drops candidates; `None` lets the truth do it, with some
        mistakes.

    Returns
    -------
    Candidates
    """
    rng = np.random.default_rng([seed, 2])
    engine = _make_engine(image, vae, rng)
    search = SearchSettings(**SEARCH)
    if rng.random() > ROUNDS_SHARE:
        search = search.without_rounds()
    chosen = choose_sources(search, engine.observation.reference,
                            engine.parents, None, None,
                            points=PointSources.of(engine))
    scene = search_residual(engine, engine.fit(chosen.sources), search)
    looks = _Looks(image, seed, float(engine.fwhm.min()))
    looks.add(scene, _features(engine, scene, rng, COMPARED_SHARE))
    if classifier is None:
        keep = ((looks.truth(scene) >= 0)
                | (rng.random(len(scene)) < KEPT_SHARE))
        scene = engine.refit(scene, keep)
        looks.add(scene, _features(engine, scene, rng, 1))
    else:
        drop_doubtful(engine, scene, search,
                      _RecordingScorer(engine, classifier, looks))
    return looks.all()
