# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""Draw the curves of a training run."""

from vaephot.utils.optional_deps import import_optional

__all__ = ['plot_curves', 'thin_curves']

# what is drawn: title of a panel, its columns
PANELS = (
    ('loss [nats]', ('loss', 'reconstruction', 'kl')),
    ('held-out stamps [nats]', ('excess', 'divergence', 'negative_elbo')),
    ('flux, df/f', ('flux_bias', 'flux_nmad')),
    ('size, d ln r', ('size_bias', 'size_nmad')),
    ('position [px]', ('position_nmad',)),
    ('pull of the size', ('size_pull',)),
)
# misfits span decades
LOGARITHMIC = ('loss [nats]', 'held-out stamps [nats]')


def plot_curves(curves):
    """
    Draw training and validation curves.

    Parameters
    ----------
    curves : dict
        Rows of each stage, as `~vaephot.train.training_loop.train`
        returns them.

    Returns
    -------
    `matplotlib.figure.Figure`
        One row of panels per stage that has rows; save it with
        ``savefig``.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    figures = import_optional('matplotlib.figure', 'drawing curves')
    curves = {stage: rows for stage, rows in curves.items() if rows}
    figure = figures.Figure(figsize=(18, 3 * max(1, len(curves))),
                            layout='constrained')
    grid = figure.subplots(max(1, len(curves)), len(PANELS), squeeze=False)
    for axes, (stage, rows) in zip(grid, curves.items(), strict=False):
        for axis, (title, columns) in zip(axes, PANELS, strict=True):
            _draw_panel(axis, rows, columns)
            axis.set_title(f'{stage}: {title}', fontsize='small')
            axis.set_xlabel('step')
            if title in LOGARITHMIC:
                axis.set_yscale('symlog', linthresh=0.01)
    return figure


def _draw_panel(axis, rows, columns):
    """Draw some columns against the step."""
    for name in columns:
        points = [(row['step'], row[name]) for row in rows if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), marker='.', label=name)
            axis.legend(fontsize='x-small')
    if 'size_pull' in columns:
        axis.axhline(1, color='0.6', lw=0.8)


def thin_curves(curves, n_rows=40, digits=4):
    """
    Keep evenly spaced rows of curves, for the record of the weights.

    Parameters
    ----------
    curves : dict
        Rows of each stage.
    n_rows : int, optional
        Rows to keep of each stage; the first and the last are among them.
    digits : int, optional
        Significant digits.

    Returns
    -------
    dict
        Columns of each stage, by name; none for a stage without rows.

    Examples
    --------
    >>> from vaephot.train.curves import thin_curves
    >>> rows = [{'step': i, 'loss': 1 / i} for i in range(1, 10)]
    >>> thin_curves({'isolated': rows}, n_rows=3)['isolated']['step']
    [1, 5, 9]
    """
    out = {}
    for stage, rows in curves.items():
        count = min(n_rows, len(rows))
        step = (len(rows) - 1) / max(1, count - 1)
        kept = [rows[round(i * step)] for i in range(count)]
        out[stage] = {name: [_rounded(row[name], digits) for row in kept]
                      for name in (kept[0] if kept else ())}
    return out


def _rounded(value, digits):
    if isinstance(value, int):
        return value
    return float(f'{value:.{digits}g}')
