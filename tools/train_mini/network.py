"""The student in torch: dlib's trunk, a new head, its exact-limit distance, weights in and out.

Layers carry the names of the exported MXNet graph. Pixels are raw RGB; dlib's normalisation stays
apart from `conv0` while it is trained (folded in, its weights would be 256 times smaller than all
others, and Adam would move them 256 times too far) and is folded in on the way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from serfiq_widgets.errors import CorruptModel
from tools.train_mini.architecture import (
    BOTTOM,
    CROP,
    DIMENSIONS,
    EPSILON,
    FEATURES,
    RATE,
    SIDE,
    STEM,
    STEM_KERNEL,
    UNITS,
    widenings,
)
from tools.train_mini.dlib_weights import DlibWeights

DLIB_SCALE = 256.0
NORMS = {
    "weight": "arg:{}_gamma",
    "bias": "arg:{}_beta",
    "running_mean": "aux:{}_moving_mean",
    "running_var": "aux:{}_moving_var",
}
"""A batch norm's arrays in torch, and where MXNet keeps them."""

Arrays = dict[str, NDArray[np.float32]]


class Student(nn.Module):
    """Trunk, batch norm, dropout, fully connected, batch norm.

    Parameters
    ----------
    dlib : DlibWeights
        The trunk's start, the pixels' averages, and the last layer of dlib's own embedding.
    """

    averages: Tensor
    dlib_layer: Tensor

    def __init__(self, dlib: DlibWeights) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, STEM, STEM_KERNEL, stride=2)
        channels = STEM
        for unit in UNITS:
            stride, pad = (2, 0) if unit.down else (1, 1)
            first = nn.Conv2d(channels, unit.filters, 3, stride, pad)
            self.add_module(f"{unit.name}_conv1", first)
            self.add_module(
                f"{unit.name}_conv2", nn.Conv2d(unit.filters, unit.filters, 3, padding=1)
            )
            channels = unit.filters
        self.bn1 = nn.BatchNorm1d(FEATURES, eps=EPSILON)
        self.pre_fc1 = nn.Linear(FEATURES, DIMENSIONS)
        self.fc1 = nn.BatchNorm1d(DIMENSIONS, eps=EPSILON)
        self.fc1.weight.requires_grad_(requires_grad=False)  # fix_gamma
        self.register_buffer("averages", torch.tensor(dlib.averages).reshape(3, 1, 1))
        self.register_buffer("dlib_layer", torch.tensor(dlib.embedding), persistent=False)
        with torch.no_grad():
            for name, (weight, bias) in dlib.convolutions.items():
                layer = self.get_submodule(name)
                layer.weight.copy_(torch.tensor(weight))
                layer.bias.copy_(torch.tensor(bias))

    def maps(self, pixels: Tensor) -> Tensor:
        """Feature maps (N, 256, 2, 2) of aligned faces (N, 3, 112, 112), RGB, 0..255."""
        top, bottom, left, right = CROP
        face = functional.pad(pixels.float(), (0, 0, 0, BOTTOM), mode="replicate")
        face = functional.interpolate(
            face[..., top:bottom, left:right], (SIDE, SIDE), mode="bilinear", align_corners=True
        )
        face = (face - self.averages) / DLIB_SCALE
        x = functional.relu(self.conv0(face.contiguous(memory_format=torch.channels_last)))
        x = functional.max_pool2d(x, 3, 2)
        for unit in UNITS:
            y = functional.relu(self.get_submodule(f"{unit.name}_conv1")(x))
            y = self.get_submodule(f"{unit.name}_conv2")(y)
            if unit.down:
                x = functional.avg_pool2d(x, 2, 2)
                x = functional.pad(x, (0, 0, 0, 0, 0, unit.filters - x.shape[1]))
                y = functional.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = functional.relu(x + y)
        return x.float()

    def features(self, maps: Tensor) -> Tensor:
        """Features (N, 1024) at the dropout site, of the maps."""
        return self.bn1(maps.flatten(1))

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (N, 128), not normalised; with dropout while the module trains."""
        kept = functional.dropout(features, RATE, training=self.training)
        return self.fc1(self.pre_fc1(kept))

    def dlib_embedding(self, maps: Tensor) -> Tensor:
        """Embedding of dlib itself (N, 128): its last layer on the mean of each map."""
        return maps.mean((2, 3)) @ self.dlib_layer.T

    def head(self) -> tuple[Tensor, Tensor]:
        """Return the folded head, (D, F) and (D,): what robustness and the limit work with."""
        scale = 1 / torch.sqrt(self.fc1.running_var + EPSILON)
        weight = self.pre_fc1.weight * scale[:, None]
        bias = (self.pre_fc1.bias - self.fc1.running_mean) * scale + self.fc1.bias
        return weight, bias


def limit_distance(features: Tensor, weight: Tensor, bias: Tensor, rate: float = RATE) -> Tensor:
    """Mean pairwise distance (N,) of infinitely many passes: differentiable, second order.

    The same expansion as `serfiq_widgets.robustness.limit_distances`, which derives it, for a batch
    of features (N, F) whose scatter is not zero.
    """
    variances = rate / (1 - rate) * features.square()
    mean = features @ weight.T + bias
    m = mean.square().sum(1)
    t = variances @ weight.square().sum(0)
    n = m + t
    q = (variances * (mean @ weight).square()).sum(1)
    covariance = (weight * variances[:, None, :]) @ weight.T
    t2 = covariance.square().sum((1, 2))
    e = t / n + 2 * q / n**2 - (m / n) * (3 * q + 1.5 * t2) / n**2
    v = t2 / n**2 * (1 + m**2 / n**2) + 2 * q * t**2 / n**4
    return torch.sqrt(2 * e) * (1 - v / (8 * e * e))


@torch.no_grad()
def solve_head(student: Student, maps: Tensor, aim: Tensor) -> None:
    """Give an untrained head the weights that least squares find, dropout counted in.

    With features f, aims y and random masks m, the mean of |W (m * f) / k - y|^2 is least where
    (F'F + p/k diag(F'F)) W' = F'Y: dropout acts as a ridge whose strength need not be chosen.

    Parameters
    ----------
    student : Student
        Its trunk is as it will start; both batch norms are set to what they would see.
    maps : (N, 256, 2, 2) Tensor
        From `Student.maps`, of more faces than there are features.
    aim : (N, 128) Tensor
        The embeddings that the student should give.
    """
    flat = maps.flatten(1).double()
    student.bn1.running_mean.copy_(flat.mean(0))
    student.bn1.running_var.copy_(flat.var(0))
    features = (flat - flat.mean(0)) / torch.sqrt(flat.var(0) + EPSILON)
    gram = features.T @ features / len(features)
    scatter = RATE / (1 - RATE) * gram.diagonal()
    ridge = torch.diag(scatter + EPSILON)  # a feature that is always zero has no scatter
    mean = aim.double().mean(0)
    weight = torch.linalg.solve(gram + ridge, features.T @ (aim.double() - mean) / len(features)).T
    student.pre_fc1.weight.copy_(weight)
    student.pre_fc1.bias.zero_()
    student.fc1.running_mean.zero_()
    student.fc1.running_var.copy_((features @ weight.T).var(0) + weight.square() @ scatter)
    student.fc1.bias.copy_(mean / torch.sqrt(student.fc1.running_var + EPSILON))


def to_arrays(student: Student) -> Arrays:
    """Return the student's weights under MXNet's names, the normalisation folded into `conv0`."""
    arrays = {
        name: value.detach().float().cpu().numpy().copy() for name, value in _named_weights(student)
    }
    weight = arrays["arg:conv0_weight"] / np.float32(DLIB_SCALE)
    averages = student.averages.cpu().numpy()
    arrays["arg:conv0_bias"] -= (weight * averages).sum((1, 2, 3))
    arrays["arg:conv0_weight"] = weight
    return arrays | widenings()


def from_arrays(student: Student, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Load weights under MXNet's names, as of the bundled model, into a student.

    Raises
    ------
    CorruptModel
        They are not those of this network.
    """
    wide = {name: np.array(value, np.float32) for name, value in arrays.items()}
    for name, value in to_arrays(student).items():
        if name not in wide or wide[name].shape != value.shape:
            raise CorruptModel(f"The weights lack '{name}' of shape {value.shape}.")
    for name, value in widenings().items():
        if not np.array_equal(wide[name], value):
            raise CorruptModel(f"'{name}' is more than the widening that this network has.")
    weight, averages = wide["arg:conv0_weight"], student.averages.cpu().numpy()
    wide["arg:conv0_bias"] += (weight * averages).sum((1, 2, 3))
    wide["arg:conv0_weight"] = weight * np.float32(DLIB_SCALE)
    with torch.no_grad():
        for name, value in _named_weights(student):
            value.copy_(torch.from_numpy(wide[name]))


def _named_weights(student: Student) -> Iterator[tuple[str, Tensor]]:
    for name, value in student.state_dict().items():
        layer, _, kind = name.rpartition(".")
        if layer in ("bn1", "fc1"):
            if kind in NORMS:
                yield NORMS[kind].format(layer), value
        elif layer:
            yield f"arg:{layer}_{kind}", value
