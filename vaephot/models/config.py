# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Shape of the networks, as saved in every weights record."""

from dataclasses import asdict, dataclass, fields

__all__ = ['N_EXPLICIT', 'PARAMETER_NAMES', 'ModelConfig']

# explicit parameters of a source; the latent follows them
PARAMETER_NAMES = ('x', 'y', 'log_size', 'eta1', 'eta2')
N_EXPLICIT = len(PARAMETER_NAMES)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """
    Sizes of encoder, decoder and prior.

    Parameters
    ----------
    n_latent : int
        Dimensions of the latent that the decoder turns into a profile.
    n_components : int
        Concentric Gaussians of a template.
    sigma_min, sigma_max : float
        Narrowest and widest Gaussian, in half-light radii. Between
        them the widths are spaced evenly in the logarithm, as in the
        multi-Gaussian expansions of Hogg & Lang (2013).
    decoder_width, prior_width, head_width : int
        Hidden units of the three small networks.
    encoder_channels : tuple of int
        Channels after each stage of the encoder; each halves the stamp.
    stamp_size : int
        Side of the encoder's stamps in pixels.
    position_sigma : float
        Prior 1-sigma of a source's position about the place where it
        was found, in pixels.
    structure_orders : tuple of int
        Angular order of each wave of the structure of a galaxy (see
        `~vaephot.models.asymmetry.StructureBasis`); none by default.
    structure_sigma : tuple of float
        Widths of the Gaussians that waves are made of, in half-light
        radii.
    """

    n_latent: int = 3
    n_components: int = 12
    sigma_min: float = 0.02
    sigma_max: float = 4.5
    decoder_width: int = 64
    prior_width: int = 32
    head_width: int = 224
    encoder_channels: tuple[int, ...] = (32, 64, 96)
    stamp_size: int = 32
    position_sigma: float = 0.5
    structure_orders: tuple[int, ...] = ()
    structure_sigma: tuple[float, ...] = (0.25, 0.45, 0.8, 1.4)

    def __post_init__(self):
        for name, kind in (('encoder_channels', int),
                           ('structure_orders', int),
                           ('structure_sigma', float)):
            object.__setattr__(self, name, tuple(
                kind(n) for n in getattr(self, name)))
        if min(self.structure_orders, default=0) < 0:
            msg = (f'structure_orders is {self.structure_orders}; orders '
                   f'must be >= 0')
            raise ValueError(msg)
        for name in ('n_latent', 'n_components', 'decoder_width',
                     'prior_width', 'head_width', 'stamp_size'):
            if getattr(self, name) < 1:
                msg = f'{name} is {getattr(self, name)}; it must be >= 1'
                raise ValueError(msg)
        if not 0 < self.sigma_min < self.sigma_max:
            msg = (f'sigma_min, sigma_max are {self.sigma_min}, '
                   f'{self.sigma_max}; they must be positive and rising')
            raise ValueError(msg)
        reduction = 2 ** len(self.encoder_channels)
        if self.stamp_size % reduction:
            msg = (f'stamp_size is {self.stamp_size}; with '
                   f'{len(self.encoder_channels)} stages it must be a '
                   f'multiple of {reduction}')
            raise ValueError(msg)

    @property
    def n_parameters(self):
        """Parameters of one source: explicit ones, latent, structure."""
        return self.n_concentric + self.n_structure

    @property
    def n_concentric(self):
        """Parameters of a source without structure."""
        return N_EXPLICIT + self.n_latent

    @property
    def n_structure(self):
        """Amplitudes of the structure."""
        return sum(2 if order else 1 for order in self.structure_orders)

    def to_dict(self):
        """
        Return the configuration as plain numbers and lists.

        Returns
        -------
        dict
        """
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values):
        """
        Make a configuration from what `to_dict` returned.

        Parameters
        ----------
        values : dict
            Names and values of the fields.

        Returns
        -------
        ModelConfig

        Raises
        ------
        ValueError
            If a name is not a field.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            msg = (f'unknown model settings {unknown}; known are '
                   f'{sorted(known)}')
            raise ValueError(msg)
        return cls(**values)
