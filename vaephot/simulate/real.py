# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Real galaxies of HST COSMOS, with their noise taken out.

Stamps are read from any folder in the format of GalSim's
`galsim.RealGalaxyCatalog`. Noise would be amplified when the PSF of HST
is taken out, and the truth of a simulation must not hold noise at all.
So each stamp is denoised by thresholds on its wavelet coefficients,
everything outside its own isophote is set to zero, and galaxies are
only made *fainter* than they are: what noise is left falls with them.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy.ndimage import binary_dilation, convolve1d, gaussian_filter, label

from vaephot.exceptions import CatalogError
from vaephot.simulate._galsim import drawing_accuracy, load_galsim
from vaephot.simulate.catalog.mock import SIZE_SLOPE, MockCatalog

__all__ = ['RealGalaxies', 'RealGalaxy', 'RealStamp', 'denoise', 'starlet']

# Kernel of the starlet transform, a cubic spline (Starck et al. 2007,
# IEEE TIP 16, 297, section III).
SPLINE = np.array([1, 4, 6, 4, 1]) / 16

# Coefficients above so many sigma are kept, in the finest scale (where
# most are noise) and in the others.
FINE_THRESHOLD = 4.0
THRESHOLD = 3.0

# Isophote that bounds the galaxy, in sigma of the smoothed stamp, the
# width of the smoothing and the growth of the region, in pixels.
ISOPHOTE = 1.0
ISOPHOTE_SMOOTHING = 2.0
ISOPHOTE_GROWTH = 4

# AB zeropoint of the COSMOS stamps is that of the column MAG. Galaxies
# of the catalogue fainter than this have too little signal.
FAINTEST_MAG = 25.2

# Galaxies are brought to magnitudes at least this much fainter.
MIN_DIMMING = 0.2
# Smallest number of galaxies to choose from.
MIN_CHOICE = 3

# PSF of Hubble below this share of its total is not divided by.
MIN_TRANSFER = 0.01


def starlet(image, n_scales):
    """
    Isotropic undecimated wavelet transform.

    Parameters
    ----------
    image : ndarray (ny, nx)
        The image.
    n_scales : int
        Number of detail scales.

    Returns
    -------
    ndarray (n_scales + 1, ny, nx)
        Details from fine to coarse, and the smooth rest; they sum to
        the image.
    """
    out, smooth = [], np.asarray(image, float)
    for scale in range(n_scales):
        kernel = np.zeros(4 * 2 ** scale + 1)
        kernel[::2 ** scale] = SPLINE
        coarser = convolve1d(convolve1d(smooth, kernel, axis=0,
                                        mode='mirror'),
                             kernel, axis=1, mode='mirror')
        out.append(smooth - coarser)
        smooth = coarser
    return np.array([*out, smooth])


def _n_scales(shape):
    """Detail scales that a stamp has room for."""
    return int(np.clip(np.log2(min(shape) / 6), 1, 4))


def _own_region(image, rms):
    """Pixels of the galaxy in the middle of a stamp."""
    smooth = gaussian_filter(image, ISOPHOTE_SMOOTHING)
    # noise of the smoothed stamp, of independent pixels
    level = ISOPHOTE * rms / (2 * np.sqrt(np.pi) * ISOPHOTE_SMOOTHING)
    labels, _ = label(smooth > level)
    ny, nx = image.shape
    window = np.s_[ny // 3:ny - ny // 3, nx // 3:nx - nx // 3]
    peak = np.unravel_index(smooth[window].argmax(), smooth[window].shape)
    own = labels[window][peak]
    if own == 0:
        return np.ones(image.shape, bool)
    return binary_dilation(labels == own, iterations=ISOPHOTE_GROWTH)


def denoise(image, noise):
    """
    Take the noise out of the stamp of a galaxy.

    Parameters
    ----------
    image : ndarray (ny, nx)
        Stamp without background.
    noise : ndarray (m, m)
        A realisation of its noise alone, larger than the stamp.

    Returns
    -------
    clean : ndarray (ny, nx)
        Not negative, zero outside the galaxy.
    left : float
        Noise that is left per pixel of the galaxy, over that of the
        stamp: what a second realisation of the noise becomes by the
        same steps.
    """
    n_scales = _n_scales(image.shape)
    own = _own_region(image, noise.std())
    sigma = starlet(noise, n_scales)[:n_scales].std(axis=(1, 2))
    details = starlet(image, n_scales)
    limits = np.array([FINE_THRESHOLD] + [THRESHOLD] * (n_scales - 1))
    keep = abs(details[:-1]) > (limits * sigma)[:, None, None]
    keep = np.concatenate([keep & own, np.ones((1, *image.shape), bool)])
    clean = np.maximum((details * keep).sum(axis=0), 0) * own
    ny, nx = image.shape
    other = starlet(noise[-ny:, -nx:], n_scales)
    left = (other * keep).sum(axis=0)[own].std() / noise.std()
    return clean, float(left)


@dataclass(frozen=True, kw_only=True, eq=False)
class RealStamp:
    """
    A real galaxy without its noise.

    Parameters
    ----------
    row : int
        Row of the catalogue.
    mag : float
        AB magnitude.
    image, psf : ndarray
        Denoised stamp and PSF of its telescope, each of sum 1.
    pixel_scale : float
        Of both, in arcsec.
    noise_left : float
        As `denoise` gives it.
    """

    row: int
    mag: float
    image: np.ndarray = field(repr=False)
    psf: np.ndarray = field(repr=False)
    pixel_scale: float
    noise_left: float

    @cached_property
    def _profiles(self):
        """GalSim profiles of stamp and PSF."""
        galsim = load_galsim()
        accuracy = drawing_accuracy(5e-3)
        return tuple(galsim.InterpolatedImage(
            galsim.Image(np.array(array, float), scale=self.pixel_scale),
            x_interpolant='lanczos5', flux=1.0, gsparams=accuracy)
            for array in (self.image, self.psf))

    @property
    def profile(self):
        """The galaxy without the PSF of its telescope, for GalSim."""
        galsim = load_galsim()
        galaxy, psf = self._profiles
        return galsim.Convolve(galaxy, galsim.Deconvolve(psf))

    @cached_property
    def shape(self):
        """Half-light radius [arcsec] and conformal shear, measured."""
        galsim = load_galsim()
        sharp = 0.12  # arcsec; small beside the galaxies
        size = 2 * int(1.5 * len(self.image)) + 1
        blurred = galsim.Convolve(self.profile, galsim.Gaussian(fwhm=sharp))
        drawn = blurred.drawImage(nx=size, ny=size, scale=self.pixel_scale,
                                  method='no_pixel')
        radius = drawn.calculateHLR(flux=1.0)
        radius = np.sqrt(max(radius ** 2 - (sharp / 2) ** 2, 0.02 ** 2))
        moments = galsim.hsm.FindAdaptiveMom(drawn, strict=False)
        shear = (moments.observed_shape if moments.error_message == ''
                 else galsim.Shear())
        return float(radius), float(shear.eta1), float(shear.eta2)

    def transform(self, kx, ky, matrix):
        """
        Fourier transform of the galaxy after a linear map.

        Parameters
        ----------
        kx, ky : ndarray (n_x,), (n_y,)
            Even grids in cycles per arcsec, from 0 and about 0.
        matrix : ndarray (2, 2)
            Takes the stamp to the sky.

        Returns
        -------
        ndarray (n_y, n_x)
            Complex, 1 at zero frequency.
        """
        step = 2 * np.pi * (kx[1] - kx[0])
        n_x, n_y = 2 * len(kx) - 1, len(ky)
        parts = []
        for profile in self._profiles:
            # flux must stay 1 though the map changes the area
            moved = profile.transform(*matrix.ravel()) / abs(
                np.linalg.det(matrix))
            drawn = moved.drawKImage(nx=n_x, ny=n_y, scale=step)
            parts.append(drawn.array[:, len(kx) - 1:])
        galaxy, psf = parts
        weak = abs(psf) < MIN_TRANSFER
        return np.where(weak, 0, galaxy / np.where(weak, 1, psf))


@dataclass(frozen=True, kw_only=True)
class RealComponent:
    """
    The one part of a real galaxy.

    Parameters
    ----------
    stamp : `RealStamp`
        The galaxy.
    matrix : ndarray (2, 2)
        Takes the stamp to the sky.
    """

    stamp: RealStamp
    matrix: np.ndarray = field(repr=False)
    part: str = 'whole'
    share: float = 1.0

    def transform(self, kx, ky):
        """
        Fourier transform on a grid of frequencies.

        Parameters
        ----------
        kx, ky : ndarray (n_x,), (n_y,)
            In cycles per arcsec.

        Returns
        -------
        ndarray (n_y, n_x)
            Complex.
        """
        return self.stamp.transform(kx, ky, self.matrix)


@dataclass(frozen=True, kw_only=True)
class RealGalaxy:
    """
    A real galaxy as it is put into a scene.

    Parameters
    ----------
    stamp : `RealStamp`
        The galaxy.
    dilation : float, optional
        Factor of its size.
    angle : float, optional
        Angle that it is turned by, in radians.
    flip : bool, optional
        Whether it is mirrored first.
    """

    stamp: RealStamp
    dilation: float = 1.0
    angle: float = 0.0
    flip: bool = False

    is_single = True
    bulge_fraction = np.nan

    @property
    def matrix(self):
        """Map of the stamp to the sky, (2, 2)."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        mirror = np.diag([-1.0 if self.flip else 1.0, 1.0])
        return self.dilation * np.array([[c, -s], [s, c]]) @ mirror

    @property
    def half_light_radius(self):
        """Half-light radius in arcsec, measured on the stamp."""
        return self.stamp.shape[0] * self.dilation

    @property
    def major_radius(self):
        """Half-light radius along the major axis in arcsec, about."""
        return self.half_light_radius * np.exp(
            np.hypot(*self.stamp.shape[1:]) / 2)

    @property
    def extent(self):
        """Radius in arcsec that holds all of the light."""
        half = self.stamp.image.shape[0] / 2 * self.stamp.pixel_scale
        return (1.42 * half + 0.3) * self.dilation

    @property
    def conformal_shear(self):
        """Conformal shear (eta1, eta2), measured on the stamp."""
        eta = complex(*self.stamp.shape[1:])
        # a mirror at the y axis turns the direction about 90 degrees
        eta = eta.conjugate() if self.flip else eta
        eta *= np.exp(2j * self.angle)
        return eta.real, eta.imag

    def components(self):
        """
        Take the galaxy apart.

        Returns
        -------
        list of `RealComponent`
            One, of the part ``whole``.
        """
        return [RealComponent(stamp=self.stamp, matrix=self.matrix)]

    def part_fluxes(self, bulge_fractions, wavelengths_nm=None):
        """
        Shares of the parts in each band.

        Parameters
        ----------
        bulge_fractions : ndarray (n_bands,)
            Gives the number of bands.
        wavelengths_nm : ndarray or None, optional
            Not used: the galaxy looks the same in all bands.

        Returns
        -------
        dict of ndarray (n_bands,)
        """
        return {'whole': np.ones(len(bulge_fractions))}

    def scaled(self, factor):
        """
        Return the galaxy enlarged by a factor.

        Parameters
        ----------
        factor : float
            Ratio of the new radii to the old ones.

        Returns
        -------
        `RealGalaxy`
        """
        return replace(self, dilation=self.dilation * factor)


class RealGalaxies:
    """
    Population of real galaxies, with the colours of another one.

    Parameters
    ----------
    folder : path-like
        Folder of a COSMOS catalogue in GalSim's format.
    split : {'train', 'test', 'all'}, optional
        Even rows of the catalogue are for training, odd ones for tests.
    catalog : str, optional
        Name of the catalogue's file.
    base : population or None, optional
        Where colours come from, and galaxies that are brighter than
        all real ones. `None` is the mock catalogue.

    Raises
    ------
    CatalogError
        If the folder holds no such catalogue or the split is unknown.
    """

    def __init__(self, folder, *, split='train',
                 catalog='real_galaxy_catalog.fits', base=None):
        if split not in ('train', 'test', 'all'):
            msg = f'split is {split!r}; choose train, test or all.'
            raise CatalogError(msg, split=split)
        self.folder = str(folder)
        self.split = split
        self.base = MockCatalog() if base is None else base
        galsim = load_galsim()
        try:
            self._catalog = galsim.RealGalaxyCatalog(catalog,
                                                     dir=self.folder)
        except (OSError, galsim.GalSimError) as err:
            msg = (f'{self.folder} holds no catalogue {catalog} of real '
                   f'galaxies that GalSim can read: {err}')
            raise CatalogError(msg, path=self.folder) from err
        mags = np.asarray(self._catalog.cat['MAG'], float)
        rows = np.arange(len(mags))
        chosen = {'train': rows % 2 == 0, 'test': rows % 2 == 1,
                  'all': rows >= 0}[split] & (mags < FAINTEST_MAG)
        self.rows, self.mags = rows[chosen], mags[chosen]
        self._stamp = lru_cache(maxsize=4096)(self._read)

    def __repr__(self):
        return f'RealGalaxies({self.folder!r}, split={self.split!r})'

    def __len__(self):
        return len(self.rows)

    def __getstate__(self):
        return {'folder': self.folder, 'split': self.split,
                'base': self.base, 'catalog': self._catalog.file_name}

    def __setstate__(self, state):
        from pathlib import Path

        name = Path(state.pop('catalog')).name
        folder = state.pop('folder')
        self.__init__(folder, catalog=name, **state)

    def stamp(self, row):
        """
        Read and denoise a galaxy.

        Parameters
        ----------
        row : int
            Row of the catalogue.

        Returns
        -------
        `RealStamp`
        """
        return self._stamp(int(row))

    def _read(self, row):
        image = self._catalog.getGalImage(row).array.astype(float)
        psf = self._catalog.getPSFImage(row).array.astype(float)
        _, scale, variance = self._catalog.getNoiseProperties(row)
        clean, left = denoise(image, self._noise(row, scale, variance))
        return RealStamp(row=row, image=clean / clean.sum(), psf=psf
                         / psf.sum(), pixel_scale=scale, noise_left=left,
                         mag=float(self._catalog.cat['MAG'][row]))

    def _noise(self, row, scale, variance):
        """A realisation of the correlated noise of the stamps."""
        galsim = load_galsim()
        image = galsim.Image(512, 512, scale=scale)
        noise = self._catalog.getNoise(row, rng=galsim.BaseDeviate(row + 1))
        image.addNoise(noise.withVariance(variance))
        return image.array.astype(float)

    def draw(self, rng, mags, bands):
        """
        Draw galaxies of given magnitudes.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        mags : array_like (n,)
            AB magnitudes in the reference band.
        bands : sequence of str
            Bands to return.

        Returns
        -------
        list of `~vaephot.simulate.catalog.population.CatalogGalaxy`
            Real galaxies that are brighter, dimmed and shrunk to the
            size of their magnitude; those of ``base`` where fewer than
            three real ones are brighter.
        """
        smooth = self.base.draw(rng, mags, bands)
        picks = rng.random((len(smooth), 3))
        return [self._replace(item, mag, *pick) for item, mag, pick in
                zip(smooth, np.asarray(mags, float), picks, strict=True)]

    def _replace(self, item, mag, pick, turn, flip):
        brighter = np.flatnonzero(self.mags < mag - MIN_DIMMING)
        if len(brighter) < MIN_CHOICE:
            return item
        row = self.rows[brighter[int(pick * len(brighter))]]
        stamp = self.stamp(row)
        galaxy = RealGalaxy(
            stamp=stamp, angle=2 * np.pi * turn, flip=flip < 0.5,
            dilation=float(10 ** (SIZE_SLOPE * (mag - stamp.mag))))
        return replace(item, galaxy=galaxy, parent=int(row))

    def draw_mags(self, rng, n_galaxies, mag_limits):
        """
        Draw magnitudes from the number counts of ``base``.

        Parameters
        ----------
        rng : `numpy.random.Generator`
            Source of randomness.
        n_galaxies : int
            Number of galaxies.
        mag_limits : tuple of float
            Bright and faint limit.

        Returns
        -------
        ndarray (n_galaxies,)
        """
        return self.base.draw_mags(rng, n_galaxies, mag_limits)

    def counts_ratio(self, mag_limits, density_mag):
        """
        Galaxies within limits over all brighter, those of ``base``.

        Parameters
        ----------
        mag_limits : tuple of float
            Bright and faint limit.
        density_mag : float
            A magnitude.

        Returns
        -------
        float
        """
        return self.base.counts_ratio(mag_limits, density_mag)
