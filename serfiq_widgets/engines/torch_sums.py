"""The sums that scores need, on torch's device: `control_variates` and `robustness` for tensors.

Sums of float32 are added up in float64 where the device has it. Distances between passes are
computed from deviations from the mean pass, which are small, so that float32 keeps their digits.
"""

from __future__ import annotations

from typing import Any

import torch

from serfiq_widgets.robustness import LimitTerms


def _wide(tensor: Any) -> Any:
    """Return the type of sums: Apple's GPUs have no float64."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


class Moments:
    """An affine head on a device, for `control_variates.moment_sums`.

    Parameters
    ----------
    weight, bias : (D, F) and (D,) tensor of float32
    terms : LimitTerms
        Of the weight. If tr Σ² is estimated, from |P Σ Qᵀ|² with S rows each, the products of the
        rows of P A and Q A are made once: (S², F), for one product with the variances of many
        faces. For few faces reading them would take longer than two small products.
    """

    def __init__(self, weight: Any, bias: Any, terms: LimitTerms) -> None:
        self._weight, self._bias = weight, bias

        def put(array: Any) -> Any:
            return torch.tensor(array, device=weight.device)

        self._energies = put(terms.energies)
        self._squares = None if terms.squares is None else put(terms.squares)
        if self._squares is None:
            self._left, self._right = map(put, terms.sides)
            self._products = (self._left[:, None] * self._right).flatten(0, 1)

    def __call__(self, features: Any) -> Any:
        """Return `control_variates.moment_sums` (6, N) of features (N, F) float32."""
        wide = _wide(features)
        mean = features @ self._weight.T + self._bias
        squares = features.square()
        e, b = squares * self._energies, (mean @ self._weight) * features
        if self._squares is not None:
            trace = (squares @ self._squares) * squares
        elif 2 * len(features) > len(self._left):
            trace = (squares @ self._products.T).square()
        else:
            trace = ((self._left * squares[:, None]) @ self._right.T).square().flatten(1)
        every = (mean.square(), e, b.square(), b * e, e.square(), trace)
        return torch.stack([terms.sum(1, dtype=wide) for terms in every])

    def embeddings(self, features: Any) -> Any:
        """Return embeddings (N, D) float32 without dropout, not scaled to length 1."""
        return features @ self._weight.T + self._bias


def unit(x: Any) -> Any:
    """Scale vectors (..., D) to length 1; zeros stay zeros."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp_min(torch.finfo(x.dtype).tiny)


def pass_sums(embeddings: Any, square: Any = None, scatter: Any = None) -> Any:
    """Return mean distance, its standard error and the three `control_variates.pair_sums`: (5, N).

    Parameters
    ----------
    embeddings : (N, T, D) tensor of float32
        Before normalisation, T at least 2.
    square, scatter : (N,) tensor, optional
        m and t of `control_variates.Moments`; without them the pair sums are NaN.
    """
    wide, count = _wide(embeddings), embeddings.shape[1]
    distances = _distances(embeddings)
    means = distances.sum(2, dtype=wide) / (count - 1)
    mean = means.mean(1)
    spread = (means - mean[:, None]).square().sum(1)
    error = (4 * (count - 1) / (count * max(count - 2, 1) ** 2) * spread).sqrt()
    sums = torch.full((5, len(mean)), torch.nan, dtype=wide, device=mean.device)
    sums[0] = mean
    if count > 2:  # noqa: PLR2004  # no pass of two can be left out
        sums[1] = error
    if square is not None:
        off = distances - _explained(embeddings, square, scatter)
        off *= scatter[:, None, None] > 0
        off.diagonal(dim1=1, dim2=2).zero_()
        rows = off.sum(2, dtype=wide)
        sums[2] = rows.sum(1) / 2
        sums[3] = off.square().sum((1, 2), dtype=wide) / 2
        sums[4] = rows.square().sum(1)
    return sums


def _distances(embeddings: Any) -> Any:
    """Return distances (N, T, T) float32 of normalised embeddings (N, T, D)."""
    points = unit(embeddings)
    points -= points.mean(1, keepdim=True)
    gram = points @ points.mT
    squares = gram.diagonal(dim1=1, dim2=2).clone()
    distances = gram.mul_(-2).add_(squares[:, :, None]).add_(squares[:, None])
    distances.clamp_min_(0).sqrt_().diagonal(dim1=1, dim2=2).zero_()
    return distances


def _explained(embeddings: Any, square: Any, scatter: Any) -> Any:
    """Return d₀ + C (N, T, T) of `control_variates.controlled_distances`.

    With the mean pass x̄, y_i = x_i - x̄ and a_i = x̄·y_i,

        n G_ij = (|x̄|² - m) + a_i + a_j + y_i·y_j,
        n w_i = (|x̄|² - m) - t + 2 a_i + |y_i|².
    """
    centre = embeddings.mean(1, keepdim=True)
    y = embeddings - centre
    along = (y @ centre.mT).squeeze(2)
    gram = y @ y.mT
    squares = gram.diagonal(dim1=1, dim2=2).clone()
    above = centre.to(square.dtype).square().sum((1, 2)) - square
    some = scatter > 0
    n = torch.where(some, square + scatter, 1)
    tau = torch.where(some, scatter / n, 1)
    n32, tau, above, scatter = (part.float()[:, None] for part in (n, tau, above, scatter))
    c = 1 - tau
    w = ((above - scatter) + 2 * along + squares) / n32
    half = (w[:, :, None] + w[:, None]) / 2
    product = gram.add_((above + along)[:, :, None]).add_(along[:, None]).div_(n32[:, None])
    tau, c = tau[:, None], c[:, None]
    first = c * half - product
    second = product.sub_(1.5 * c * half).mul_(half)
    second.add_((0.5 * c * w[:, :, None]) * w[:, None])
    luck = second.add_(first).div_(2 * tau).sub_(first.square().div_(8 * tau**2))
    return luck.add_(1).mul_((2 * tau).sqrt())
