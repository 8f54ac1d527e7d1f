"""Frames for training: read, cut into pieces, turned, lit.

In:   folders that `weir-render dataset` wrote.
Out:  for one step, a tensor of pictures on a device and an array of boxes per picture.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F

import measure
from net import NAMES, PARCEL, SIZE

# Side of a piece as the network sees it, and the sides that are cut out for it.
PIECE = 96
CUT = (80, 136)


class Frames:
    """Pictures as bytes, decoded when first asked for; boxes as arrays of x1, y1, x2, y2, class."""

    def __init__(self, folders):
        self.boxes, self.files, self.decoded = [], [], {}
        for folder in folders:
            for label in measure.labels(folder):
                self.files.append(folder / label["file"])
                rows = [
                    [t["x1"], t["y1"], t["x2"], t["y2"], NAMES.index(t["class"])] for t in label["truth"]
                ]
                self.boxes.append(np.array(rows, np.float32).reshape(-1, 5))

    def decode(self, threads):
        """Decodes all pictures now, for a device that would wait for them."""
        with ThreadPoolExecutor(threads) as pool:
            self.decoded = dict(enumerate(pool.map(measure.picture, self.files)))

    def picture(self, number):
        if number not in self.decoded:
            self.decoded[number] = measure.picture(self.files[number])
        return self.decoded[number]


def cut(picture, boxes, side, rng):
    """A piece of side x side pixels, mostly around a mark or a barcode, with what shows of the boxes.

    Parcels are left out: most would be cut."""
    small = boxes[boxes[:, 4] != PARCEL]
    x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
    if len(small) and rng.random() < 0.85:
        x1, y1, x2, y2 = small[rng.randrange(len(small)), :4]
        x, y = (x1 + x2) / 2 + rng.uniform(-0.3, 0.3) * side, (y1 + y2) / 2 + rng.uniform(-0.3, 0.3) * side
    left = int(min(max(x - side / 2, 0), SIZE - side))
    top = int(min(max(y - side / 2, 0), SIZE - side))
    moved = small - np.array([left, top, left, top, 0], np.float32)
    seen = moved.copy()
    seen[:, :4] = np.clip(moved[:, :4], 0, side)
    area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    kept = seen[area(seen) > 0.45 * area(moved)]
    return picture[top : top + side, left : left + side], kept


def turned(picture, boxes, quarters):
    """A picture turned by quarters of a circle, with its boxes."""
    boxes = boxes.copy()
    for _ in range(quarters):
        x1, y1, x2, y2 = (boxes[:, i].copy() for i in range(4))
        boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = y1, SIZE - x2, y2, SIZE - x1
    return np.rot90(picture, quarters), boxes


def batch_of(frames, chosen, pieces, rng):
    """Pictures as bytes [n, side, side, 3], their boxes, and the side: pieces, or whole pictures; some by
    quarter turns."""
    pictures, boxed, side = [], [], rng.randrange(*CUT) if pieces else SIZE
    for number in chosen:
        picture, boxes = frames.picture(number), frames.boxes[number]
        # Parcels of hard frames lie at any angle, and so does what is on them.
        if rng.random() < (0.5 if pieces else 0.3):
            picture, boxes = turned(picture, boxes, rng.randrange(1, 4))
        if pieces:
            picture, boxes = cut(picture, boxes, side, rng)
        pictures.append(picture)
        boxed.append(boxes)
    return np.ascontiguousarray(np.stack(pictures)), boxed, side


def lit(pictures, size, device):
    """Pictures of `batch_of` as the network takes them, scaled to `size`, in changed light."""
    x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255.0
    if size != x.shape[2]:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    n = len(pictures)
    chance = lambda channels, low, high: torch.empty(n, channels, 1, 1, device=device).uniform_(low, high)
    gain = chance(3, 0.92, 1.08) * chance(1, 0.7, 1.25)
    x = (x * gain + chance(1, -0.06, 0.06)).clamp(0.0, 1.0)
    return x.contiguous(memory_format=torch.channels_last)
