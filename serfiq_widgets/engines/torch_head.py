"""A dropout head on torch's device: embeddings of many faces under many masks.

Only the products are in the engine's precision; their sums, and all else, are float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serfiq_widgets.checkpoints.heads import Head
from serfiq_widgets.engines.torch_device import TorchDevice
from serfiq_widgets.engines.torch_sums import Moments
from serfiq_widgets.robustness import LimitTerms

BITS = (128, 64, 32, 16, 8, 4, 2, 1)  # in the order of numpy.packbits
DISTANCE_BYTES = 24  # of each pair of passes in `torch_sums.pass_sums`: some arrays of float32


class TorchHead:
    """The layers of a head on a device, and the masks that they got last.

    Parameters
    ----------
    head : Head
    rate : float
        Dropout rate p in [0, 1).
    device : TorchDevice
    """

    def __init__(self, head: Head, rate: float, device: TorchDevice) -> None:
        self._head, self._keep, self._device = head, 1.0 - rate, device
        self._layers = [
            (device.put(layer.weight).to(device.dtype), device.put(layer.bias), layer.tanh)
            for layer in head.layers
        ]
        self._packed: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._masks = self._device.put(np.empty((0, 0), bool))
        self._matrices: Any = None
        self._moments: tuple[LimitTerms, Moments] | None = None

    def moments(self, terms: LimitTerms) -> Moments:
        """Return what computes the moments of an affine head, from `limit_terms` of its matrix."""
        if self._moments is None or self._moments[0] is not terms:
            weight, bias = self._device.put(self._head.weight), self._device.put(self._head.bias)
            self._moments = terms, Moments(weight, bias, terms)
        return self._moments[1]

    def masks(self, masks: NDArray[np.bool_]) -> Any:
        """Return masks (T, M) bool on the device; send them as bits, if they are new."""
        count = masks.shape[1]
        packed = np.packbits(masks, axis=1)
        held = self._packed[: len(packed)]
        if self._masks.shape[1] != count or not np.array_equal(held, packed):
            bits = self._device.put(packed).unsqueeze(-1) & self._device.put(
                np.array(BITS, np.uint8)
            )
            self._packed, self._masks = packed, (bits != 0).reshape(len(packed), -1)[:, :count]
            self._matrices = None
        return self._masks[: len(packed)]

    def parts(self, features: Any, masks: Any) -> Iterator[tuple[slice, Any]]:
        """Yield embeddings (n, T, D) of some faces at a time, with their places among all.

        Parameters
        ----------
        features : (N, F) tensor of float32
        masks : (T, M) tensor of bool
            From `masks`.
        """
        passes, units = masks.shape
        if self._masks_matrix(len(features), passes):
            units = 0
        numbers = units * self._device.dtype.itemsize + 12 * self._head.n_dimensions
        step = max(1, self._device.memory // (passes * (numbers + DISTANCE_BYTES * passes)))
        for first in range(0, len(features), step):
            some = slice(first, first + step)
            yield some, self.embeddings(features[some], masks)

    def embeddings(self, features: Any, masks: Any = None) -> Any:
        """Return embeddings (N, T, D) float32, or (N, 1, D) without dropout; as `Head`."""
        if masks is not None and self._masks_matrix(len(features), len(masks)):
            return self._by_matrices(features, masks)
        x, first = features[:, None], 0
        for weight, bias, tanh in self._layers:
            last = first + weight.shape[1]
            if masks is not None:
                shift = 0.0 if first else self._head.shift
                x = (x + shift) / self._keep
                x = (x if shift else x.to(self._device.dtype)) * masks[:, first:last]
                x = x - shift if shift else x
            x = (x.to(self._device.dtype) @ weight.T).float() + bias
            x = torch.tanh(x) if tanh else x
            first = last
        return x

    def _masks_matrix(self, faces: int, passes: int) -> bool:
        """Return whether to mask the head's matrix instead of the features of so many faces.

        The masked matrices (T, D, F) serve all batches, so they are only read. Masked features
        (N, T, F) are written and read. One product with all matrices needs no less arithmetic, but
        then less memory traffic, if 2 N is more than D and the matrices can be kept.
        """
        dimensions, n_features = self._head.n_dimensions, self._head.n_features
        size = passes * dimensions * n_features * self._device.dtype.itemsize
        return self._head.is_affine and 2 * faces > dimensions and size <= self._device.memory

    def _by_matrices(self, features: Any, masks: Any) -> Any:
        ((weight, bias, _),) = self._layers
        if self._matrices is None or len(self._matrices) < len(masks):
            self._matrices = masks[:, None] * weight
        matrices = self._matrices[: len(masks)]
        x = (features / self._keep).to(self._device.dtype) @ matrices.flatten(0, 1).T
        return x.unflatten(1, matrices.shape[:2]).float() + bias
