# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Train the classifier of candidates, and say how far it can be believed.

The images of the candidates are dealt into folds. Each fold is judged by a
network that has not seen it; two numbers for each output make the logarithmic
odds of these calibrated (Platt 1999), and are taken over by the network that
has seen all.
"""

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch.nn import functional

from vaephot.deblend.select.features import FEATURES
from vaephot.exceptions import TrainingError
from vaephot.models.classifier import PREFIX, SourceClassifier, pack_classifier
from vaephot.weights import save_weights

__all__ = ['fit_classifier', 'release_classifier', 'reliability']

N_FOLDS = 5
N_EPOCHS, N_BATCH, RATE = 60, 512, 4e-3
WEIGHT_DECAY = 3e-3
# outputs, and the candidates that each is learned from
OUTPUTS = ('source', 'point')


def _without_comparison(features):
    """Features as before the comparison with hosts."""
    out = features.copy()
    for name in ('gain', 'compared'):
        out[:, FEATURES.index(name)] = 0
    return out


def _stacked(candidates):
    """Features, truth (n, 2), use (n, 2) and seed, each state of both."""
    features = candidates.features
    compared = features[:, FEATURES.index('compared')] > 0
    truth = np.stack([candidates.is_source, candidates.is_point], 1)
    use = np.stack([np.ones(len(truth), bool), candidates.is_source], 1)
    return [np.concatenate([a, b[compared]]) for a, b in (
        (features, _without_comparison(features)), (truth, truth),
        (use, use), (candidates.seed, candidates.seed))]


def _loss(odds, truth, use):
    """Cross entropy of both outputs where they are to be learned."""
    values = functional.binary_cross_entropy_with_logits(
        odds, truth, reduction='none')
    return (values * use).sum() / len(odds)


def _train(features, truth, use, seed, n_epochs):
    """A network that has seen some candidates."""
    out = SourceClassifier(features.shape[1])
    columns = [torch.as_tensor(v, dtype=torch.float32)
               for v in (features, truth, use)]
    out.mean.copy_(columns[0].mean(0))
    out.scale.copy_(columns[0].std(0).clamp_min(1e-3))
    generator = torch.Generator().manual_seed(seed)
    n = len(features)
    n_steps = n_epochs * -(-n // N_BATCH)
    optimizer = torch.optim.AdamW(out.parameters(), RATE,
                                  weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, n_steps)
    for _ in range(n_epochs):
        for rows in torch.randperm(n, generator=generator).split(N_BATCH):
            optimizer.zero_grad()
            _loss(out(columns[0][rows]), columns[1][rows],
                  columns[2][rows]).backward()
            optimizer.step()
            schedule.step()
    return out.eval().requires_grad_(False)


def _odds(network, features):
    """Logarithmic odds (n, 2) in double precision."""
    return network(torch.as_tensor(features, dtype=torch.float32)
                   ).double().numpy()


def _calibration(odds, truth):
    """Factor and constant that make logarithmic odds calibrated."""
    sign = np.where(truth, 1.0, -1.0)

    def cost(values):
        return np.logaddexp(0, -sign * (values[0] * odds + values[1])).mean()
    return minimize(cost, [1.0, 0.0]).x


def _calibrate(network, values):
    """Take over factors and constants (2, 2) of the outputs."""
    last = network.layers[-1]
    factor, constant = (torch.as_tensor(v, dtype=torch.float32)
                        for v in np.transpose(values))
    last.weight.mul_(factor[:, None])
    last.bias.copy_(last.bias * factor + constant)
    return network


def reliability(probability, truth, n_bins=10):
    """
    Compare probabilities with shares of true ones.

    Parameters
    ----------
    probability : `numpy.ndarray`, (n,)
        From 0 to 1.
    truth : `numpy.ndarray` of bool, (n,)
        What came true.
    n_bins : int, optional
        Bins of equal width.

    Returns
    -------
    list of dict
        Of each bin that has any: number, mean probability and share.
    """
    number = np.clip((probability * n_bins).astype(int), 0, n_bins - 1)
    rows = []
    for k in np.unique(number):
        some = number == k
        rows.append({'n': int(some.sum()),
                     'predicted': round(float(probability[some].mean()), 4),
                     'true': round(float(truth[some].mean()), 4)})
    return rows


def fit_classifier(candidates, *, seed=1, n_epochs=N_EPOCHS):
    """
    Train a classifier of candidates.

    Parameters
    ----------
    candidates : `~vaephot.train.candidate_sets.Candidates`
        What it learns from.
    seed : int, optional
        Seed of the order in which they are seen.
    n_epochs : int, optional
        How often each is seen.

    Returns
    -------
    classifier : `~vaephot.models.classifier.SourceClassifier`
        The network.
    summary : dict
        Names of the features, numbers of candidates and images, and of each
        output the cross entropy and the reliability on images that were not
        seen.

    Raises
    ------
    TrainingError
        If there are too few images, or no true sources among them.
    """
    features, truth, use, image = _stacked(candidates)
    fold = image % N_FOLDS
    if len(np.unique(fold)) < 2 or not candidates.is_source.any():
        msg = (f'{len(np.unique(image))} images have candidates, and '
               f'{candidates.is_source.sum()} of these are sources; search '
               f'more images.')
        raise TrainingError(msg)
    odds = np.zeros(truth.shape)
    for k in range(N_FOLDS):
        seen, held = fold != k, fold == k
        network = _train(features[seen], truth[seen], use[seen], seed,
                         n_epochs)
        odds[held] = _odds(network, features[held])
    values = [_calibration(odds[use[:, i], i], truth[use[:, i], i])
              for i in range(2)]
    final = _calibrate(_train(features, truth, use, seed, n_epochs), values)
    summary = {'features': list(FEATURES), 'seed': seed,
               'n_candidates': len(candidates),
               'n_images': len(np.unique(candidates.seed)),
               'n_sources': int(candidates.is_source.sum()),
               'n_points': int(candidates.is_point.sum())}
    for i, name in enumerate(OUTPUTS):
        some = use[:, i]
        held = values[i][0] * odds[some, i] + values[i][1]
        sign = np.where(truth[some, i], 1.0, -1.0)
        summary[name] = {
            'cross_entropy': round(float(
                np.logaddexp(0, -sign * held).mean()), 5),
            'reliability': reliability(expit(held), truth[some, i])}
    return final, summary


def release_classifier(path, weights, classifier, summary, *,
                       overwrite=False):
    """
    Write weights with a classifier.

    Parameters
    ----------
    path : path-like
        File to write, ``NAME.safetensors``.
    weights : `~vaephot.weights.loading.Weights`
        The other networks and their record.
    classifier : `~vaephot.models.classifier.SourceClassifier`
        The classifier.
    summary : dict
        What `fit_classifier` says of it.
    overwrite : bool, optional
        Whether existing files may be replaced.

    Returns
    -------
    `~vaephot.weights.records.WeightsRecord`
    """
    tensors = {name: tensor for name, tensor in weights.tensors.items()
               if not name.startswith(PREFIX)}
    fields = {**weights.record.to_dict(), 'url': '', 'training': {
        **weights.record.training, 'classifier': summary}}
    for name in ('name', 'sha256', 'size_bytes'):
        del fields[name]
    return save_weights(path, {**tensors, **pack_classifier(classifier)},
                        fields, overwrite=overwrite)
