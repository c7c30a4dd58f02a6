"""Heads: the layers after the dropout site, as a few matrices.

Most heads are affine: dropout, fully connected, batch norm, folded to one matrix and one vector. An
on-top head (see `on_top`) is several such layers with dropout and tanh in each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting

MIN_RATE, MAX_RATE = 0.01, 0.9


def usable_rate(rate: float | None) -> float | None:
    """Return a dropout rate if passes can use it, or if it is 0; else None.

    A network trained with a rate of NaN, 1 or 0.999 would not work without dropout.
    """
    sound = rate is not None and (rate == 0 or MIN_RATE <= rate <= MAX_RATE)
    return rate if sound else None


@dataclass(frozen=True, eq=False)
class Layer:
    """Dropout, then ``x @ weight.T + bias``, then tanh if ``tanh`` is true.

    Attributes
    ----------
    weight : (D, F) ndarray of float32
    bias : (D,) ndarray of float32
    tanh : bool
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    tanh: bool = False


@dataclass(frozen=True, eq=False)
class Head:
    """From features to embeddings before normalisation, with dropout before each layer.

    Attributes
    ----------
    layers : tuple of Layer
    shift : float
        The negative of a dropped feature's value. With 0, the noise grows with the features, so the
        angles between embeddings cannot distinguish weak features from strong ones.
    """

    layers: tuple[Layer, ...]
    shift: float = 0.0

    @property
    def is_affine(self) -> bool:
        """Whether the head is one matrix and one vector, so that its passes' moments are known."""
        return len(self.layers) == 1 and not self.layers[0].tanh and not self.shift

    @property
    def weight(self) -> NDArray[np.float32]:
        """The matrix A (D, F) of an affine head.

        Raises
        ------
        BadSetting
            The head is not affine.
        """
        return self._only().weight

    @property
    def bias(self) -> NDArray[np.float32]:
        """The vector c (D,) of an affine head; raises the same error as `weight`."""
        return self._only().bias

    def _only(self) -> Layer:
        if not self.is_affine:
            raise BadSetting("An on-top head has several layers, so it has no closed form.")
        return self.layers[0]

    @property
    def n_features(self) -> int:
        """F, the number of features at the dropout site."""
        return self.layers[0].weight.shape[1]

    @property
    def n_dimensions(self) -> int:
        """D, the length of an embedding."""
        return self.layers[-1].weight.shape[0]

    @property
    def n_units(self) -> int:
        """M, the columns of a mask: one for each input of each layer."""
        return sum(layer.weight.shape[1] for layer in self.layers)

    def __call__(
        self,
        features: NDArray[np.float32],
        masks: NDArray[np.bool_] | None = None,
        keep: float = 1.0,
    ) -> NDArray[np.float32]:
        """Return embeddings before normalisation.

        Parameters
        ----------
        features : (N, F) or (F,) ndarray of float32
            One row per embedding, or one vector for all masks.
        masks : (N, M) ndarray of bool, optional
            True where a unit is kept; all units are kept if not given.
        keep : float
            Share of kept units, 1 - p; kept units are divided by it.

        Returns
        -------
        (N, D) ndarray of float32
        """
        x = features
        first = 0
        for layer in self.layers:
            last = first + layer.weight.shape[1]
            if masks is not None:
                shift = np.float32(0.0 if first else self.shift)
                x = masks[:, first:last] * ((x + shift) / np.float32(keep))
                x = x - shift if shift else x
            x = x @ layer.weight.T + layer.bias
            if layer.tanh:
                x = np.tanh(x)
            first = last
        return x


def affine(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Head:
    """Return a head of one matrix and one vector."""
    return Head((Layer(weight, bias),))
