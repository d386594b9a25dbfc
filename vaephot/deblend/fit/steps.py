# Licensed under a 3-clause BSD style license - see LICENSE.rst
"""
Steps of the joint fit, which stay where its parabola can be trusted.

Gauss-Newton steps of weakly constrained shapes are far too long. Each source
has a damping, which is added to the curvature of its parameters in units of
their largest steps (Levenberg 1944): it holds the directions of which the
data say little, and leaves the others free. It is as large as it must be for
the source to stay within the trust radius of its group (Moré 1978).
"""


import torch

__all__ = ['HELD', 'Arrow', 'Trust', 'damped_step', 'inverse',
           'limit_parameters', 'pinned_parameters', 'project']

# largest step of position [px], log size and shear; of all others 1
STEP_LIMIT = (1.0, 1.0, 1.0, 0.7, 0.7)
MIN_LOG_SIZE = -4.0
# largest half-light radius, as a share of the side of a group's region
MAX_SIZE_SHARE = 0.25
ETA_LIMIT = 3.5
LATENT_LIMIT = 5.0
# precision of parameters that are not free
HELD = 1e8
# ridge, as a share of the curvature
RIDGE = 1e-5
# steps this much longer than the radius are cut, others get more damping
LEEWAY = 1.5
# first damping, over the one that is enough whatever the curvature; dampings
# grow by the factor until they are enough, and relax between steps
FIRST_DAMPING, DAMPING_FACTOR, RELIEF, MAX_TRIES = 1e-5, 10.0, 0.01, 7
# share of the predicted reduction below which the radius shrinks, and above
# which it grows; by how much; the radius at which nothing can be improved
POOR, GOOD, SHRINK, GROW, LEAST_RADIUS = 0.25, 0.75, 0.25, 2.0, 1e-4


# ---------------------------------------------------------------- limits
def _bounds(parameters, size):
    """Least and largest values (g, 1..., p) for regions of sides (g,)."""
    shape = (len(size), *[1] * (parameters.ndim - 2), parameters.shape[-1])
    high = parameters.new_full(shape, torch.inf)
    low = -high
    low[..., 2] = MIN_LOG_SIZE
    high[..., 2] = torch.log(MAX_SIZE_SHARE * size).view(shape[:-1])
    low[..., 5:], high[..., 5:] = -LATENT_LIMIT, LATENT_LIMIT
    return low, high


def limit_parameters(parameters, size):
    """Keep parameters (g, ..., p) where templates make sense."""
    low, high = _bounds(parameters, size)
    out = torch.maximum(torch.minimum(parameters, high), low)
    length = out[..., 3:5].norm(dim=-1, keepdim=True)
    out[..., 3:5] = out[..., 3:5] * (ETA_LIMIT / length.clamp(min=ETA_LIMIT))
    return out


def pinned_parameters(parameters, vector, size):
    """Parameters (g, ..., p) at a limit that ``vector`` pushes beyond it."""
    low, high = _bounds(parameters, size)
    return torch.where(vector > 0, parameters >= high, parameters <= low)


def _step_limits(n_parameters, like):
    """Largest steps of the parameters of a source, (p,)."""
    out = like.new_ones(n_parameters)
    out[:len(STEP_LIMIT)] = out.new_tensor(STEP_LIMIT)
    return out


# --------------------------------------------------------------- matrices
def project(found):
    """Curvature by shapes with the fluxes projected out, (g, b, m, m)."""
    n = torch.diagonal(found.linear, dim1=-2, dim2=-1)
    factor = torch.linalg.cholesky_ex(
        found.linear + torch.diag_embed(1e-9 * n + (n <= 0)))[0]
    half = torch.linalg.solve_triangular(factor, found.cross, upper=False)
    return found.shape - half.transpose(-1, -2) @ half


def inverse(matrix):
    """Inverse of symmetric positive matrices of very different scales."""
    scale = torch.diagonal(matrix, dim1=-2, dim2=-1).clamp(min=1e-300)
    scale = scale.rsqrt()
    one = torch.eye(matrix.shape[-1], dtype=matrix.dtype,
                    device=matrix.device)
    unit = scale[..., :, None] * matrix * scale[..., None, :] + 1e-10 * one
    factor, failed = torch.linalg.cholesky_ex(unit)
    factor = torch.where((failed > 0)[..., None, None], one, factor)
    return (torch.cholesky_inverse(factor)
            * scale[..., :, None] * scale[..., None, :])


# -------------------------------------------------------------------- trust
class Trust:
    """
    How far the groups of a fit may go, and which are done.

    ``radius`` ``(g,)`` in units of the largest steps; ``damping``
    ``(g, k)``; ``done`` ``(g,)``.
    """

    def __init__(self, real, tolerance, relative):
        self.radius = torch.ones(len(real), dtype=torch.float64,
                                 device=real.device)
        self.damping = torch.zeros(real.shape, dtype=torch.float64,
                                   device=real.device)
        self.done = ~real.any(1)
        self._count = real.sum(1)
        self._tolerance = tolerance * self._count
        self._relative = relative

    def judge(self, rows, old, new, predicted, length, *, lenient):
        """
        Which trials are kept; renews the radii, and what is done.

        ``lenient`` where old and new were measured on other windows.
        """
        gain = old - new
        slack = -0.5 * self._count[rows] if lenient else 0.0
        better = (gain > slack) & ~self.done[rows]
        ratio = gain / predicted.clamp(min=1e-30)
        radius = self.radius[rows]
        renewed = torch.where(
            ratio < POOR, SHRINK * length,
            torch.where(ratio > GOOD, GROW * radius, radius)).clamp(max=1.0)
        if lenient:
            self.radius[rows] = torch.where(better, radius, renewed)
            return better
        self.radius[rows] = renewed
        enough = self._tolerance[rows] + self._relative * new.abs()
        self.done[rows] |= ((better & (gain < enough)) | (predicted < enough)
                            | (renewed < LEAST_RADIUS))
        return better


def _cut_to(step, radius, limits):
    """Steps (g, ..., k, p) within radii (g,), and how far they go."""
    far = (step.abs() / limits).flatten(1).amax(1)
    cut = (far / radius).clamp(min=1).view(-1, *[1] * (step.ndim - 1))
    return step / cut, torch.minimum(far, radius)


class _Search:
    """Damping of the sources of some groups, raised where steps are long."""

    def __init__(self, trust, rows, vector):
        self.trust, self.rows = trust, rows
        self.limits = _step_limits(vector.shape[-1], vector)
        push = (vector.abs() * self.limits).amax(-1)
        if push.ndim == 3:
            push = push.amax(1)
        self.radius = trust.radius[rows]
        self.first = (FIRST_DAMPING * push
                      / self.radius[:, None]).clamp(min=1e-12)

    def held(self, damping):
        """Diagonals (g, k * p) that dampings (g, k) add to curvatures."""
        return (damping[..., None] / self.limits ** 2).flatten(1)

    def raise_long(self, damping, step, some, failed=None):
        """Raised dampings of some groups, and which of these had to be."""
        far = step.abs() / self.limits
        far = far.amax(-1) if far.ndim == 3 else far.amax((1, 3))
        long = (far > LEEWAY * self.radius[some, None]) | ~torch.isfinite(far)
        if failed is not None:
            long = long | failed[:, None]
        more = torch.maximum(DAMPING_FACTOR * damping, self.first[some])
        return torch.where(long, more, damping), long.any(1)


def damped_step(matrix, vector, pinned, trust, rows):
    """
    Step of common shapes within the trust radius of each group.

    ``matrix`` ``(g, m, m)``, ``vector`` and ``pinned`` ``(g, k, p)``, of the
    groups ``rows``. Returns the step ``(g, k, p)`` and its length ``(g,)``.
    """
    keep = (~pinned).flatten(1).double()
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    rest = diagonal * (1 - keep) + RIDGE * diagonal + (diagonal <= 0)
    matrix = (matrix * keep[:, :, None] * keep[:, None]
              + torch.diag_embed(rest))
    vector = torch.where(pinned, 0, vector)
    search = _Search(trust, rows, vector)
    damping = RELIEF * trust.damping[rows]
    step, some = torch.zeros_like(vector), torch.arange(
        len(rows), device=rows.device)
    for _ in range(MAX_TRIES):
        factor, failed = torch.linalg.cholesky_ex(
            matrix[some] + torch.diag_embed(search.held(damping[some])))
        found = torch.cholesky_solve(vector[some].flatten(1)[..., None],
                                     factor)[..., 0].view_as(vector[some])
        step[some] = found
        damping[some], again = search.raise_long(damping[some], found, some,
                                                 failed > 0)
        some = some[again]
        if not len(some):
            break
    trust.damping[rows] = damping
    step = torch.where(pinned, 0, torch.nan_to_num(step))
    return _cut_to(step, search.radius, search.limits)


class Arrow:
    """
    Steps of shapes of each band that are tied to common ones.

    The system of a group is an arrow: blocks of the bands, each coupled to
    the common parameters alone. Its factors are kept as long as the
    dampings stay.

    Parameters
    ----------
    curvature : `torch.Tensor`, (g, b, m, m)
        Of the bands, fluxes projected out.
    tie, precision : `torch.Tensor`, (g, m)
        Between a band and the common parameters, and of their prior.
    trust : Trust
        Radii and dampings.
    """

    def __init__(self, curvature, tie, precision, trust):
        self.curvature, self.tie, self.precision = curvature, tie, precision
        self.trust = trust
        g, _, m, _ = curvature.shape
        self._own = torch.empty_like(curvature)
        self._shared = torch.empty_like(curvature)
        self._inner = curvature.new_empty(g, m, m)
        self.factor(torch.arange(g, device=curvature.device))

    def factor(self, rows):
        """Renew the factors of some groups."""
        damping = self.trust.damping[rows]
        limits = _step_limits(self.tie.shape[1] // damping.shape[1],
                              self.curvature)
        held = (damping[..., None] / limits ** 2).flatten(1)[:, None]
        some, tie = self.curvature[rows], self.tie[rows]
        diagonal = torch.diagonal(some, dim1=-2, dim2=-1).clamp(min=0)
        own = inverse(some + torch.diag_embed(
            RIDGE * diagonal + held + tie[:, None] + (diagonal <= 0)))
        shared = own * tie[:, None, None]
        inner = torch.diag_embed(some.shape[1] * tie + self.precision[rows])
        inner = inner - (tie[:, None, :, None] * shared).sum(1)
        self._own[rows], self._shared[rows] = own, shared
        self._inner[rows] = inverse(inner)

    def solve(self, rows, vector, pull):
        """Step (g, b, m) for slopes of the bands and of the prior."""
        alone = (self._own[rows] @ vector[..., None])[..., 0]
        shared = self._shared[rows]
        total = pull + (shared.transpose(-1, -2)
                        @ vector[..., None])[..., 0].sum(1)
        common = self._inner[rows] @ total[..., None]
        return alone + (shared @ common[:, None])[..., 0]

    def step(self, rows, vector, pull):
        """
        Step (g, b, k, p) within the trust radii, and its length (g,).

        ``vector`` ``(g, b, k, p)``, ``pull`` ``(g, k * p)``.
        """
        search = _Search(self.trust, rows, vector)
        step, some = torch.zeros_like(vector), torch.arange(
            len(rows), device=rows.device)
        for _ in range(MAX_TRIES):
            group = rows[some]
            found = self.solve(group, vector[some].flatten(2), pull[some])
            found = found.view_as(vector[some])
            step[some] = found
            damping, again = search.raise_long(self.trust.damping[group],
                                               found, some)
            self.trust.damping[group] = damping
            some = some[again]
            if not len(some):
                break
            self.factor(rows[some])
        return _cut_to(torch.nan_to_num(step), search.radius, search.limits)
