"""Small networks with random weights: the layers of an on-top head, and a module."""

from itertools import pairwise

import numpy as np

SIZES = (128, 24, 40, 128)  # mini's embedding, and small layers


def matrices(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(after, before)) / np.sqrt(before)).astype("f4")
        for before, after in pairwise(sizes)
    ]


def small_iresnet(torch, side=112, dimensions=256):
    """A residual network as recognition uses them, small and random, with dropout in its head."""
    nn = torch.nn
    torch.manual_seed(0)

    class Block(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.way = nn.Sequential(
                nn.BatchNorm2d(before),
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.PReLU(after),
                nn.Conv2d(after, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
            )
            self.side = nn.Conv2d(before, after, 1, stride=2, bias=False)

        def forward(self, x):
            return self.way(x) + self.side(x)

    class SmallIResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8))
            self.blocks = nn.Sequential(Block(8, 16), Block(16, 32), Block(32, 32), Block(32, 32))
            self.norm = nn.BatchNorm2d(32)
            self.dropout = nn.Dropout(0.3)
            self.fc = nn.Linear(32 * (side // 16) ** 2, dimensions)
            self.features = nn.BatchNorm1d(dimensions)

        def forward(self, x):
            x = self.norm(self.blocks(self.stem(x)))
            return self.features(self.fc(torch.flatten(self.dropout(x), 1)))

    return SmallIResNet()
