#!/usr/bin/env python3
"""Trains `weir-floor.onnx` on frames that weir-render draws, and measures the exported file.

    make model                      what the shipped file was made with
    train.py --work DIR             resumes from DIR/checkpoint.pt where there is one
    train.py --work DIR --finish    exports and measures the newest checkpoint, trains no more

In:   the weir-render binary (--render), PyTorch >= 1.13, onnx, onnxruntime, Pillow, numpy. No CUDA.
Out:  weir-floor.onnx, metrics.json and MODEL_CARD.md beside this file (or under --out).

The schedule is one of processor time: learning rate and picture size follow the share of --minutes that
this process has computed (two threads: two minutes per minute on free cores), so that a busy machine gives
the same model later. SIGTERM ends training early and still exports.
"""

import argparse
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("KMP_BLOCKTIME", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import torch.nn.functional as F

import measure
from net import NAMES, PARCEL, SIZE, STRIDE, Net

CROP = 128

TRAIN_SEEDS = [1, 2, 3]
HELD_OUT_SEED = 201
SHIFTED_SEED = 301
CALIBRATION_SEED = 101


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", default="weir-render", help="the weir-render binary")
    parser.add_argument("--work", type=Path, required=True, help="frames and checkpoints are kept here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--frames", type=int, default=4000, help="training frames per seed, of 3 seeds")
    parser.add_argument("--measured", type=int, default=800, help="frames of each measured domain")
    parser.add_argument("--minutes", type=float, default=34.0, help="processor time for training")
    parser.add_argument("--calibrated", type=int, default=600, help="frames to fit scores on")
    parser.add_argument("--inner", type=int, nargs="+", default=[SIZE], help="sizes to try; the best is exported")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--finish", action="store_true", help="only export and measure the checkpoint")
    return parser.parse_args()


def drawn(args, domain, seed, frames):
    """The folder of a data set, drawn if it is not there."""
    folder = args.work / f"{domain}-{seed}-{frames}"
    if not (folder / "labels.jsonl").exists():
        command = [args.render, "dataset", "--out", folder, "--frames", frames, "--seed", seed]
        command += ["--domain", domain, "--size", SIZE, "--threads", args.threads]
        subprocess.run([str(c) for c in command], check=True)
    return folder


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

    def picture(self, number):
        if number not in self.decoded:
            self.decoded[number] = measure.picture(self.files[number])
        return self.decoded[number]


def crop(picture, boxes, rng):
    """A piece of CROP x CROP pixels, mostly around a mark or a barcode, with what shows of the boxes.

    Parcels are left out: most would be cut."""
    small = boxes[boxes[:, 4] != PARCEL]
    x, y = rng.uniform(0, SIZE), rng.uniform(0, SIZE)
    if len(small) and rng.random() < 0.85:
        x1, y1, x2, y2 = small[rng.randrange(len(small)), :4]
        x, y = (x1 + x2) / 2 + rng.uniform(-36, 36), (y1 + y2) / 2 + rng.uniform(-36, 36)
    left = int(min(max(x - CROP / 2, 0), SIZE - CROP))
    top = int(min(max(y - CROP / 2, 0), SIZE - CROP))
    moved = small - np.array([left, top, left, top, 0], np.float32)
    cut = moved.copy()
    cut[:, :4] = np.clip(moved[:, :4], 0, CROP)
    area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    kept = cut[area(cut) > 0.45 * area(moved)]
    return picture[top : top + CROP, left : left + CROP], kept


def turned(picture, boxes, quarters):
    """A picture turned by quarters of a circle, with its boxes."""
    boxes = boxes.copy()
    for _ in range(quarters):
        x1, y1, x2, y2 = (boxes[:, i].copy() for i in range(4))
        boxes[:, 0], boxes[:, 1], boxes[:, 2], boxes[:, 3] = y1, SIZE - x2, y2, SIZE - x1
    return np.rot90(picture, quarters), boxes


def targets(boxes, cells, scale):
    """Heat and boxes by cell for one picture; boxes are in cells."""
    heat = np.zeros((len(NAMES), cells, cells), np.float32)
    sides = np.zeros((2, 5, cells, cells), np.float32)
    order = np.argsort(-((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    for row in boxes[order]:
        x1, y1, x2, y2 = row[:4] * scale / STRIDE
        kind = int(row[4])
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        column, line = min(int(x), cells - 1), min(int(y), cells - 1)
        # The spread grows with the box, and is no wider than what still overlaps it well.
        sx, sy = max((x2 - x1) * 0.11, 0.35), max((y2 - y1) * 0.11, 0.35)
        reach = 3
        for j in range(max(0, line - reach), min(cells, line + reach + 1)):
            for i in range(max(0, column - reach), min(cells, column + reach + 1)):
                dx, dy = (i + 0.5 - x) / sx, (j + 0.5 - y) / sy
                value = math.exp(-0.5 * (dx * dx + dy * dy))
                at_middle = i == column and j == line
                heat[kind, j, i] = 1.0 if at_middle else max(heat[kind, j, i], min(value, 0.95))
                weight = 1.0 if at_middle else value
                group = 1 if kind == PARCEL else 0
                if weight > 0.3 and weight >= sides[group, 4, j, i]:
                    sides[group, :, j, i] = (x1, y1, x2, y2, weight)
    return heat, sides


def batch_of(frames, chosen, size, rng):
    """Pictures and targets for one step, with quarter turns and changed light. Of CROP, pieces; of any
    other size, whole pictures."""
    pictures, heats, sides = [], [], []
    cells, scale = size // STRIDE, 1.0 if size == CROP else size / SIZE
    for number in chosen:
        picture, boxes = frames.picture(number), frames.boxes[number]
        if rng.random() < 0.3:
            picture, boxes = turned(picture, boxes, rng.randrange(1, 4))
        if size == CROP:
            picture, boxes = crop(picture, boxes, rng)
        pictures.append(picture)
        heat, side = targets(boxes, cells, scale)
        heats.append(heat)
        sides.append(side)
    x = torch.from_numpy(np.ascontiguousarray(np.stack(pictures))).permute(0, 3, 1, 2).float() / 255.0
    if size not in (SIZE, CROP):
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    n = len(pictures)
    gain = torch.empty(n, 3, 1, 1).uniform_(0.92, 1.08) * torch.empty(n, 1, 1, 1).uniform_(0.8, 1.2)
    x = (x * gain + torch.empty(n, 1, 1, 1).uniform_(-0.06, 0.06)).clamp(0.0, 1.0)
    x = x.contiguous(memory_format=torch.channels_last)
    return x, torch.from_numpy(np.stack(heats)), torch.from_numpy(np.stack(sides))


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


def side_loss(distance, target):
    """1 - generalised IoU of each cell's box, weighted by how near the cell is to the box's middle."""
    n, _, h, w = distance.shape
    distance = distance.view(n, 2, 4, h, w)
    ys, xs = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    weight = target[:, :, 4]
    kept = weight > 0
    if not kept.any():
        return distance.sum() * 0.0
    middles = torch.stack([xs, ys, xs, ys]).view(1, 1, 4, h, w)
    sign = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 1, 4, 1, 1)
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


def rate_at(share, highest):
    """Rises over the first 4 % of the time, then falls along a cosine."""
    if share < 0.04:
        return highest * (0.05 + 0.95 * share / 0.04)
    return highest * (0.003 + 0.997 * 0.5 * (1 + math.cos(math.pi * (share - 0.04) / 0.96)))


def size_at(share):
    """Small whole pictures first, which teach parcels and layout; then pieces around marks in their true
    size, which teach brands at a sixth of the cost of a whole picture; whole pictures last."""
    return 192 if share < 0.25 else CROP if share < 0.8 else SIZE


class Trainer:
    def __init__(self, args):
        self.args, self.spent, self.step, self.seen = args, 0.0, 0, 0
        torch.manual_seed(11)
        self.net = Net().to(memory_format=torch.channels_last)
        self.mean = Net()
        self.mean.load_state_dict(self.net.state_dict())
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=args.rate
        )
        self.checkpoint = args.work / "checkpoint.pt"
        self.stopped = False
        if self.checkpoint.exists():
            kept = torch.load(self.checkpoint)
            self.net.load_state_dict(kept["net"])
            self.mean.load_state_dict(kept["mean"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.spent, self.step, self.seen = kept["spent"], kept["step"], kept["seen"]

    def save(self):
        kept = {"net": self.net.state_dict(), "mean": self.mean.state_dict()}
        kept.update(optimizer=self.optimizer.state_dict(), spent=self.spent, step=self.step, seen=self.seen)
        torch.save(kept, self.checkpoint.with_suffix(".new"))
        os.replace(self.checkpoint.with_suffix(".new"), self.checkpoint)

    def follow(self):
        """Moves the running mean of the weights, which is what is exported."""
        keep = min(0.98, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.mean.state_dict().values(), self.net.state_dict().values()):
            if mean.dtype.is_floating_point:
                mean.mul_(keep).add_(now, alpha=1 - keep)
            else:
                mean.copy_(now)

    def minutes(self):
        """--minutes, unless the file `minutes` in the work folder says otherwise meanwhile."""
        try:
            return float((self.args.work / "minutes").read_text())
        except (OSError, ValueError):
            return self.args.minutes

    def run(self, frames):
        rng = random.Random(self.step)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopped", True))
        order, said, saved = [], time.monotonic(), time.monotonic()
        budget, losses = self.minutes() * 60, []
        self.net.train()
        while self.spent < budget and not self.stopped:
            began = time.process_time()
            share = self.spent / budget
            size = size_at(share)
            batch = self.args.batch * (2 if size == CROP else 1)
            if len(order) < batch:
                order = list(range(len(frames.boxes)))
                rng.shuffle(order)
            chosen, order = order[:batch], order[batch:]
            x, heat, sides = batch_of(frames, chosen, size, rng)
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(share, self.args.rate)
            logit, distance = self.net(x)
            first, second = heat_loss(logit, heat, size != CROP), side_loss(distance, sides)
            self.optimizer.zero_grad(set_to_none=True)
            (first + 2.0 * second).backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
            self.optimizer.step()
            self.follow()
            self.step, self.seen = self.step + 1, self.seen + len(chosen)
            losses.append((first.item(), second.item()))
            now = time.monotonic()
            self.spent += time.process_time() - began
            if now - said > 30:
                means = np.mean(losses, 0)
                print(
                    f"{self.spent / 60:.1f} cpu min  step {self.step}  {self.seen} pictures  {x.shape[2]} px  "
                    f"heat {means[0]:.3f}  sides {means[1]:.3f}",
                    flush=True,
                )
                said, losses, budget = now, [], self.minutes() * 60
            if now - saved > 60:
                self.save()
                saved = now
        self.save()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args)
    train = [("train", seed, args.frames) for seed in TRAIN_SEEDS]
    if not args.finish:
        frames = Frames([drawn(args, *t) for t in train])
        print(f"{len(frames.boxes)} training frames", flush=True)
        trainer.run(frames)
    elif trainer.step == 0:
        sys.exit(f"train.py: no checkpoint in {args.work}")
    sets = {
        "calibration": drawn(args, "train", CALIBRATION_SEED, args.calibrated),
        "held_out": drawn(args, "held-out", HELD_OUT_SEED, args.measured),
        "shifted": drawn(args, "shifted", SHIFTED_SEED, args.measured),
    }
    training = {
        "frames": args.frames * len(TRAIN_SEEDS),
        "frame_seeds": TRAIN_SEEDS,
        "steps": trainer.step,
        "pictures_seen": trainer.seen,
        "cpu_minutes": round(trainer.spent / 60, 1),
        "torch": torch.__version__,
    }
    measure.export_and_measure(trainer.mean, args, sets, training)


if __name__ == "__main__":
    main()
