# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Settings of a training run."""

import json
from dataclasses import asdict, dataclass, field, fields

from vaephot.models.config import ModelConfig
from vaephot.train.precision import PRECISIONS

__all__ = ['STAGES', 'TrainingConfig']

STAGES = ('isolated', 'blended')


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """
    Everything a training run depends on, besides its data.

    Parameters
    ----------
    model : `~vaephot.models.config.ModelConfig`
        Sizes of the networks.
    n_steps : dict
        Steps of each stage: ``'isolated'`` trains VAE I, ``'blended'``
        VAE II.
    batch_size, n_psfs : int
        Stamps of a step and the number of PSFs they are shared among.
    learning_rate : float
        Peak rate; it rises over the first 3 % of the steps and falls to
        a hundredth along a cosine.
    template_error : float
        Share of the model that the likelihood forgives, so that the
        brightest galaxies do not drown the others.
    n_looks : int
        Most looks at a stamp: each is one more correction of the guess of
        the one before, and a step trains the last of a random number.
    decoder_frozen : bool
        Whether decoder and prior stay as they are in the first stage too.
    encoders_new : bool
        Whether only decoder and prior are taken from the weights that a
        run starts from.
    family_steps : int
        Steps of the decoder's training on noise-free shapes.
    elbo_start : dict
        Share of the steps of each stage after which the evidence lower
        bound takes over from the known parameters; 1 for never.
    elbo_snr : float
        Signal-to-noise ratio of sources of which it takes over one half; of
        fainter ones less. The bound makes bright sources precise, for it
        counts errors by the light that they misplace; the known parameters
        keep the posteriors of faint ones as wide as they are. 0: of all
        sources alike.
    max_gradient : float
        Norm to which gradients are cut.
    n_validation : int
        Stamps of the held-out set.
    patience : int
        Looks at the held-out stamps without a better one, after which a
        stage stops. It ends with the networks of the best look. 0 takes
        all steps and keeps the last networks. The default is generous:
        much is learned only when the rate falls.
    precision : {'float32', 'bfloat16'}
        Of the encoder's convolutions while it is trained.
    seed : int
        Seed of everything random.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    n_steps: dict = field(default_factory=lambda: {'isolated': 3000,
                                                   'blended': 6000})
    batch_size: int = 256
    n_psfs: int = 8
    learning_rate: float = 1.5e-3
    template_error: float = 0.03
    n_looks: int = 3
    decoder_frozen: bool = False
    encoders_new: bool = False
    family_steps: int = 3000
    elbo_start: dict = field(default_factory=lambda: {'isolated': 0.7,
                                                      'blended': 0.7})
    elbo_snr: float = 0.0
    max_gradient: float = 20.0
    n_validation: int = 2048
    patience: int = 30
    precision: str = 'float32'
    seed: int = 1

    def __post_init__(self):
        if self.batch_size % self.n_psfs:
            msg = (f'batch_size is {self.batch_size}; it must be a multiple '
                   f'of n_psfs, {self.n_psfs}')
            raise ValueError(msg)
        for name in ('n_steps', 'elbo_start'):
            value = getattr(self, name)
            if not isinstance(value, dict) or set(value) != set(STAGES):
                msg = (f'{name} is {value!r}; it must be a dictionary with '
                       f'the keys {sorted(STAGES)}')
                raise ValueError(msg)
        for name in ('patience', 'elbo_snr'):
            if getattr(self, name) < 0:
                msg = f'{name} is {getattr(self, name)}; it must be >= 0'
                raise ValueError(msg)
        if self.precision not in PRECISIONS:
            msg = (f'precision is {self.precision!r}; it must be one of '
                   f'{sorted(PRECISIONS)}')
            raise ValueError(msg)
        if self.learning_rate <= 0:
            msg = f'learning_rate is {self.learning_rate}; it must be > 0'
            raise ValueError(msg)

    def to_dict(self):
        """
        Return the settings as plain numbers, lists and dictionaries.

        Returns
        -------
        dict
        """
        return {**asdict(self), 'model': self.model.to_dict()}

    @classmethod
    def from_dict(cls, values):
        """
        Make settings from what `to_dict` returned.

        Parameters
        ----------
        values : dict
            Names and values; those left out keep their defaults.

        Returns
        -------
        TrainingConfig

        Raises
        ------
        ValueError
            If a name is not a setting.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            msg = (f'unknown training settings {unknown}; known are '
                   f'{sorted(known)}')
            raise ValueError(msg)
        values = dict(values)
        if 'model' in values:
            values['model'] = ModelConfig.from_dict(values['model'])
        return cls(**values)

    @classmethod
    def read(cls, path):
        """
        Read settings from a JSON file.

        Parameters
        ----------
        path : str or path-like
            The file; settings left out keep their defaults.

        Returns
        -------
        TrainingConfig
        """
        with open(path, encoding='utf-8') as file:
            return cls.from_dict(json.load(file))
