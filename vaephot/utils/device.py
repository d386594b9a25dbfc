# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""The one place that turns a user's ``device`` into a torch device."""

__all__ = ['resolve_device']


def resolve_device(device=None):
    """
    Return the torch device to compute on.

    Parameters
    ----------
    device : str or `torch.device` or None, optional
        Any torch device string, such as ``'cpu'``, ``'cuda:1'`` or
        ``'mps'``. `None` (default) picks CUDA, then MPS, then the CPU.

    Returns
    -------
    `torch.device`

    Raises
    ------
    TypeError
        If ``device`` is neither a string nor a device.
    ValueError
        If torch does not know the device or this machine lacks it.

    Examples
    --------
    >>> from vaephot.utils.device import resolve_device
    >>> resolve_device('cpu')
    device(type='cpu')
    """
    import torch

    if device is None:
        return torch.device(next(name for name in ('cuda', 'mps', 'cpu')
                                 if _is_available(name)))
    if not isinstance(device, (str, torch.device)):
        msg = (f'device is of type {type(device).__name__}; give a torch '
               "device string such as 'cpu' or 'cuda:0', or None.")
        raise TypeError(msg)
    try:
        made = torch.device(device)
    except RuntimeError as err:
        msg = (f'device is {device!r}, which torch does not know; give a '
               "torch device string such as 'cpu' or 'cuda:0', or None.")
        raise ValueError(msg) from err
    n_devices = torch.cuda.device_count() if made.type == 'cuda' else 1
    if not _is_available(made.type) or (made.index or 0) >= n_devices:
        msg = (f'device is {device!r}, which this machine does not have; '
               "give another one, 'cpu', or None for the best there is.")
        raise ValueError(msg)
    return made


def _is_available(kind):
    """Whether this machine has a device of a kind."""
    import torch

    if kind == 'cuda':
        return torch.cuda.is_available()
    if kind == 'mps':
        return torch.backends.mps.is_available()
    return True
