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

    def __post_init__(self):
        object.__setattr__(self, 'encoder_channels',
                           tuple(int(n) for n in self.encoder_channels))
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
        """Parameters of one source: the explicit ones and the latent."""
        return N_EXPLICIT + self.n_latent

    def to_dict(self):
        """
        Return the configuration as plain numbers and lists.

        Returns
        -------
        dict
        """
        return {**asdict(self),
                'encoder_channels': list(self.encoder_channels)}

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
