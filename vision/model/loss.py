"""What the network is trained towards, and by which losses.

In:   boxes per picture, as arrays of x1, y1, x2, y2, class; the network's outputs.
Out:  targets by cell; a loss per kind of output.
"""

import numpy as np
import torch
import torch.nn.functional as F

from net import NAMES, PARCEL, STRIDE

# Cells around a box's middle that its heat reaches.
REACH = 3
# Cells whose heat is below say nothing of the box's sides.
WEIGHT_MIN = 0.3


def padded(boxes, scale, device):
    """Boxes [n, m, 5] in cells, large ones first, and which of them are there."""
    most = max(1, max(len(b) for b in boxes))
    rows, there = np.zeros((len(boxes), most, 5), np.float32), np.zeros((len(boxes), most), bool)
    for number, one in enumerate(boxes):
        order = np.argsort(-((one[:, 2] - one[:, 0]) * (one[:, 3] - one[:, 1])), kind="stable")
        rows[number, : len(one)], there[number, : len(one)] = one[order], True
    rows[:, :, :4] *= scale / STRIDE
    return torch.from_numpy(rows).to(device), torch.from_numpy(there).to(device)


def targets(boxes, cells, scale, device):
    """By cell: heat [n, classes, cells, cells]; and [n, 2, 6, cells, cells] of the box that the cell speaks
    for, of marks and barcodes, and of parcels: x1, y1, x2, y2, weight, class, in cells."""
    rows, there = padded(boxes, scale, device)
    x1, y1, x2, y2, kind = (rows[:, :, i, None, None] for i in range(5))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    column, line = x.floor().clamp(max=cells - 1), y.floor().clamp(max=cells - 1)
    js, is_ = torch.meshgrid(*(torch.arange(cells, device=device).float() for _ in "ji"), indexing="ij")
    # The spread grows with the box, and is no wider than what still overlaps it well.
    dx = (is_ + 0.5 - x) / ((x2 - x1) * 0.11).clamp(min=0.35)
    dy = (js + 0.5 - y) / ((y2 - y1) * 0.11).clamp(min=0.35)
    near = ((is_ - column).abs() <= REACH) & ((js - line).abs() <= REACH) & there[:, :, None, None]
    middle = (is_ == column) & (js == line) & near
    value = torch.exp(-0.5 * (dx * dx + dy * dy)) * near
    one = torch.ones_like(value)

    peak = torch.where(middle, one, value.clamp(max=0.95))
    heat = torch.stack([(peak * (kind == number)).amax(1) for number in range(len(NAMES))], 1)

    weight = torch.where(middle, one, value)
    weight = weight * (weight > WEIGHT_MIN)
    # Of equals, the smallest box.
    rank = torch.arange(rows.shape[1], device=device).view(1, -1, 1, 1) * 1e-6
    sides = []
    for group in (kind != PARCEL, kind == PARCEL):
        own = weight * group
        best = (own + rank * (own > 0)).argmax(1, keepdim=True)
        kept = own.gather(1, best)
        corners = [v.expand_as(own).gather(1, best) * (kept > 0) for v in (x1, y1, x2, y2)]
        sides.append(torch.cat(corners + [kept, kind.expand_as(own).gather(1, best) * (kept > 0)], 1))
    return heat, torch.stack(sides, 1)


def heat_loss(logit, target, parcels=True):
    """Penalty-reduced focal loss (CenterNet), per true box; without `parcels` their heat is left free."""
    p = torch.sigmoid(logit).clamp(1e-4, 1 - 1e-4)
    hit = (target == 1.0).float()
    positive = (1 - p) ** 2 * torch.log(p) * hit
    negative = (1 - target) ** 4 * p**2 * torch.log(1 - p) * (1 - hit)
    loss = positive + negative
    if not parcels:
        loss = torch.cat([loss[:, :PARCEL], loss[:, PARCEL + 1 :]], 1)
    return -loss.sum() / hit.sum().clamp(min=1.0)


def kind_loss(logit, target):
    """Cross entropy between brands and barcode in the cells around the middle of each mark and barcode.

    Heat has one true cell per box, and hardly says which brand it was mistaken for; this does, in several
    cells. Adding one number to all logits of a cell changes nothing here, so that heat stays free."""
    weight = target[:, 0, 4]
    kept = weight > 0
    if not kept.any():
        return logit.sum() * 0.0
    small = torch.cat([logit[:, :PARCEL], logit[:, PARCEL + 1 :]], 1).permute(0, 2, 3, 1)[kept]
    kind = target[:, 0, 5][kept].long()
    kind = kind - (kind > PARCEL).long()
    weight = weight[kept]
    return (F.cross_entropy(small, kind, reduction="none") * weight).sum() / weight.sum()


def side_loss(distance, target):
    """1 - generalised IoU of each cell's box, weighted by how near the cell is to the box's middle."""
    count, _, h, w = distance.shape
    distance = distance.view(count, 2, 4, h, w)
    ys, xs = torch.meshgrid(*(torch.arange(n, device=distance.device) + 0.5 for n in (h, w)), indexing="ij")
    weight = target[:, :, 4]
    kept = weight > 0
    if not kept.any():
        return distance.sum() * 0.0
    middles = torch.stack([xs, ys, xs, ys]).view(1, 1, 4, h, w)
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0], device=distance.device).view(1, 1, 4, 1, 1)
    found = (middles + sign * distance).permute(0, 1, 3, 4, 2)[kept]
    true = target[:, :, :4].permute(0, 1, 3, 4, 2)[kept]
    low, high = torch.max(found[:, :2], true[:, :2]), torch.min(found[:, 2:], true[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    area = (found[:, 2:] - found[:, :2]).prod(1) + (true[:, 2:] - true[:, :2]).prod(1) - both
    hull = torch.max(found[:, 2:], true[:, 2:]) - torch.min(found[:, :2], true[:, :2])
    hull = hull.prod(1).clamp(min=1e-6)
    giou = both / area.clamp(min=1e-6) - (hull - area) / hull
    weight = weight[kept]
    return ((1 - giou) * weight).sum() / weight.sum()
