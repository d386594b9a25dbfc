# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""What a candidate is: a source of its own or not, a point or a galaxy."""

import torch
from torch import nn

from vaephot.exceptions import WeightsError

__all__ = ['PREFIX', 'SourceClassifier', 'build_classifier',
           'pack_classifier']

# names of its tensors in weights begin with this
PREFIX = 'classifier.'
# standardized features beyond this tell nothing more
LIMIT = 4.0


class SourceClassifier(nn.Module):
    """
    Probabilities of candidates, from their features.

    Parameters
    ----------
    n_features : int
        Number of features.
    width : int, optional
        Units of each of the two hidden layers.
    """

    def __init__(self, n_features, width=32):
        super().__init__()
        self.register_buffer('mean', torch.zeros(n_features))
        self.register_buffer('scale', torch.ones(n_features))
        # torch draws first values of layers from the global stream
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Linear(n_features, width), nn.SiLU(),
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, features):
        """
        Logarithmic odds.

        Parameters
        ----------
        features : `torch.Tensor`, (n, n_features)
            Features in single precision.

        Returns
        -------
        `torch.Tensor`, (n, 2)
            Of being a source of its own, and of a source being a point.
        """
        scaled = (features - self.mean) / self.scale
        return self.layers(scaled.clamp(-LIMIT, LIMIT))

    def probabilities(self, features):
        """
        Probabilities of candidates.

        Parameters
        ----------
        features : `numpy.ndarray`, (n, n_features)
            Features.

        Returns
        -------
        `numpy.ndarray`, (n, 2)
            Of being a source of its own, and of a source being a point.
        """
        with torch.inference_mode():
            odds = self(torch.as_tensor(features, dtype=torch.float32))
            return torch.sigmoid(odds.double()).numpy()


def pack_classifier(classifier):
    """
    Tensors of a classifier for a weights file.

    Parameters
    ----------
    classifier : SourceClassifier
        The classifier.

    Returns
    -------
    dict
        Tensors by name.
    """
    return {PREFIX + name: tensor.detach().cpu().contiguous()
            for name, tensor in classifier.state_dict().items()}


def build_classifier(weights):
    """
    Classifier of weights.

    Parameters
    ----------
    weights : `~vaephot.weights.loading.Weights`
        Tensors and their record.

    Returns
    -------
    SourceClassifier or None
        `None` if the weights have none.

    Raises
    ------
    WeightsError
        If its tensors do not fit together.
    """
    own = {name.removeprefix(PREFIX): tensor
           for name, tensor in weights.tensors.items()
           if name.startswith(PREFIX)}
    if not own:
        return None
    try:
        classifier = SourceClassifier(len(own['mean']),
                                      len(own['layers.0.bias']))
        classifier.load_state_dict(own)
    except (KeyError, RuntimeError) as err:
        msg = (f'the classifier of {weights.record.name!r} lacks tensors or '
               f'has some of other shapes: {err}')
        raise WeightsError(msg, name=weights.record.name) from err
    return classifier.eval().requires_grad_(False)
