"""A batch of faces on torch's device: features and passes stay there, numbers come to the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serfiq_widgets.control_variates import Moments, moments_from
from serfiq_widgets.engines.batch import DropoutHead, PassSums
from serfiq_widgets.engines.torch_device import TorchDevice, home
from serfiq_widgets.engines.torch_head import TorchHead
from serfiq_widgets.engines.torch_sums import pass_sums


class TorchBatch:
    """The features of a batch on a device; see `engines.batch.Batch`.

    Parameters
    ----------
    device : TorchDevice
    network : TorchHead
        The head on that device.
    features : (N, F) tensor of float32
    head : DropoutHead
        The same head and its rate.
    finite : callable of bool
        Called with whether all features are finite, when they are first needed; may raise.
    """

    def __init__(
        self,
        device: TorchDevice,
        network: TorchHead,
        features: Any,
        head: DropoutHead,
        finite: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._device, self._network, self._features = device, network, features
        self._rate, self._terms = head.rate, head.terms
        self._check = finite
        self._finite = features.isfinite().all(1)
        self._empty = ~(self._finite & features.any(1))
        self._sums: Any = None
        if head.terms is not None:
            usable = features.masked_fill(self._empty[:, None], 0)
            with device.exactly():
                self._sums = network.moments(head.terms)(usable)

    @cached_property
    def features(self) -> NDArray[np.float32]:  # noqa: D102  # documented in `Batch`, as all below
        return home(self._features)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:  # noqa: D102
        self._check(bool(self._finite.all()))
        return home(self._empty)

    @cached_property
    def moments(self) -> Moments | None:  # noqa: D102
        if self._terms is None:
            return None
        sums, sketched = home(self._sums).astype(np.float64), self._terms.squares is None
        return moments_from(sums, self._rate, sketched=sketched)

    def passes(self, face: int, masks: NDArray[np.bool_]) -> NDArray[np.float32]:  # noqa: D102
        with self._device.running():
            features = self._features[face : face + 1]
            return home(self._network.embeddings(features, self._network.masks(masks))[0])

    def pass_sums(  # noqa: D102
        self, masks: NDArray[np.bool_], faces: NDArray[np.intp] | None = None
    ) -> PassSums:
        with self._device.running():
            features, known = self._features, self._known()
            if faces is not None:
                which = self._device.put(faces)
                features, known = features[which], [part[which] for part in known]
            found = []
            for some, embeddings in self._network.parts(features, self._network.masks(masks)):
                with self._device.exactly():
                    found.append(pass_sums(embeddings, *(part[some] for part in known)))
            mean, error, *pairs = home(torch.cat(found, 1)).astype(np.float64)
        return PassSums(len(masks), mean, error, np.stack(pairs))

    def _known(self) -> list[Any]:
        """Return m and t of the moments, for an affine head."""
        odds = self._rate / (1 - self._rate)
        return [] if self._sums is None else [self._sums[0], odds * self._sums[1]]

    def embeddings(self) -> NDArray[np.float32]:  # noqa: D102
        with self._device.running(), self._device.exactly():
            if self._terms is None:
                return home(self._network.embeddings(self._features)[:, 0])
            return home(self._network.moments(self._terms).embeddings(self._features))
