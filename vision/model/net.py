"""The network of `weir-floor.onnx`: what it computes, and how boxes come out of it.

In:   images [N, 3, S, S], RGB 0 to 1, S a multiple of 32.
Out:  in training, heat logits [N, C, S/8, S/8] and distances [N, 8, S/8, S/8]; in the exported graph,
      `detections` [N, 100, 6] as README.md says.

A class's heat is high where the middle of one of its boxes lies. Distances are those from a cell to the
box's four sides, in cells, twice: for marks and barcodes, and for parcels, because a mark may lie in the
very middle of its parcel. Works with PyTorch 1.13 and later.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

BRANDS = ["Alba", "Boreal", "Cendra", "Duna", "Estel", "Fosca", "Garbi", "Horta"]
NAMES = BRANDS + ["parcel", "barcode"]
PARCEL = NAMES.index("parcel")
STRIDE = 8
SIZE = 320
BOXES = 100


def conv(inputs, outputs, stride=1, size=3):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Block(nn.Module):
    """Two convolutions beside a straight way."""

    def __init__(self, channels):
        super().__init__()
        self.first = conv(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x):
        return F.relu(x + self.second(self.first(x)))


class Net(nn.Module):
    def __init__(self, classes=len(NAMES)):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 2), conv(16, 32, 2))
        self.at8 = nn.Sequential(conv(32, 64, 2), Block(64))
        self.at16 = nn.Sequential(conv(64, 88, 2), Block(88), Block(88))
        self.at32 = nn.Sequential(conv(88, 112, 2), Block(112))
        self.down16 = conv(112, 88, size=1)
        self.join16 = conv(88, 88)
        self.down8 = conv(88, 64, size=1)
        self.join8 = conv(64, 64)
        self.heat = nn.Sequential(conv(64, 48), nn.Conv2d(48, classes, 1))
        self.sides = nn.Sequential(conv(64, 32), nn.Conv2d(32, 8, 1))
        # At first every cell says "no": 1 in 100.
        nn.init.constant_(self.heat[1].bias, -4.6)
        nn.init.constant_(self.sides[1].bias, 1.0)

    def forward(self, x):
        x8 = self.at8(self.stem(x))
        x16 = self.at16(x8)
        x32 = self.at32(x16)
        x16 = self.join16(x16 + F.interpolate(self.down16(x32), scale_factor=2.0, mode="nearest"))
        x8 = self.join8(x8 + F.interpolate(self.down8(x16), scale_factor=2.0, mode="nearest"))
        return self.heat(x8), F.softplus(self.sides(x8))


class Detector(nn.Module):
    """The network with the decoding of its boxes; scores are `sigmoid(logit * scale + shift)` per class.

    Takes pictures of SIZE; the network looks at them scaled to `inner`."""

    def __init__(self, net, scale=None, shift=None, inner=SIZE):
        super().__init__()
        self.net = net
        self.inner = inner
        cells = inner // STRIDE
        classes = len(NAMES)
        scale = torch.ones(classes) if scale is None else torch.tensor(scale, dtype=torch.float32)
        shift = torch.zeros(classes) if shift is None else torch.tensor(shift, dtype=torch.float32)
        self.register_buffer("scale", scale.view(1, classes, 1, 1))
        self.register_buffer("shift", shift.view(1, classes, 1, 1))
        ys, xs = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
        middles = torch.stack([xs, ys]).float().view(1, 1, 2, cells * cells) + 0.5
        self.register_buffer("middles", middles)
        self.cells = cells * cells

    def forward(self, images):
        if self.inner != SIZE:
            images = F.interpolate(images, size=(self.inner, self.inner), mode="bilinear", align_corners=False)
        heat, sides = self.net(images)
        score = torch.sigmoid(heat * self.scale + self.shift)
        # Only peaks speak: a parcel silences 5 x 5 cells around its middle, a mark or a barcode 3 x 3.
        near = F.max_pool2d(score, 3, 1, 1)
        wide = F.max_pool2d(score[:, PARCEL : PARCEL + 1], 5, 1, 2)
        top = torch.cat([near[:, :PARCEL], wide, near[:, PARCEL + 1 :]], 1)
        score = score * (score >= top).float()
        score, index = torch.topk(score.flatten(1), BOXES, dim=1)
        kind = torch.div(index, self.cells, rounding_mode="floor")
        cell = index - kind * self.cells
        group = (kind == PARCEL).long()

        sides = sides.view(-1, 2, 4, self.cells)
        low = self.middles - sides[:, :, 0:2]
        high = self.middles + sides[:, :, 2:4]
        boxes = torch.cat([low, high], 2).clamp(0.0, self.cells**0.5) * (STRIDE * SIZE / self.inner)
        boxes = boxes.permute(0, 1, 3, 2).reshape(-1, 2 * self.cells, 4)
        place = (group * self.cells + cell).unsqueeze(2).expand(-1, -1, 4)
        boxes = torch.gather(boxes, 1, place)
        return torch.cat([boxes, score.unsqueeze(2), kind.unsqueeze(2).float()], 2)
