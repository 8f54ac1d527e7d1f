#!/usr/bin/env python3
"""Trains `weir-floor.onnx` on frames that weir-render draws, and measures the exported file.

    make model                      the whole schedule
    train.py --work DIR             resumes from DIR/checkpoint.pt where there is one
    train.py --work DIR --finish    exports and measures the newest checkpoint, trains no more

In:   the weir-render binary (--render), PyTorch >= 1.13, onnx, onnxruntime, Pillow, numpy.
Out:  weir-floor.onnx, metrics.json and MODEL_CARD.md beside this file (or under --out).

`data.py` reads and cuts frames, `loss.py` says what is learnt, `net.py` is the network.

The schedule is one of processor time: learning rate and picture size follow the share of --minutes that
this process has computed (two threads: two minutes per minute on free cores), so that a busy machine gives
the same model later. SIGTERM ends training early and still exports.
"""

import argparse
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

import measure
from data import PIECE, Frames, batch_of, lit
from loss import heat_loss, kind_loss, side_loss, targets
from net import PARCEL, SIZE, STRIDE, Net

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
    parser.add_argument("--minutes", type=float, default=36.0, help="time for training")
    parser.add_argument("--calibrated", type=int, default=600, help="frames to fit scores on")
    parser.add_argument("--inner", type=int, nargs="+", default=[SIZE], help="sizes to try; the best is exported")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda, where minutes are those of the clock")
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


def rate_at(share, highest):
    """Rises over the first 4 % of the time, then falls along a cosine."""
    if share < 0.04:
        return highest * (0.05 + 0.95 * share / 0.04)
    return highest * (0.003 + 0.997 * 0.5 * (1 + math.cos(math.pi * (share - 0.04) / 0.96)))


def step_at(share, rng):
    """What the next step learns from: pieces around marks, or whole pictures of a size.

    A piece teaches brands at a tenth of the cost of a whole picture; whole ones teach parcels, layout and
    what is no mark. The last steps see whole pictures alone, as the model will."""
    if share < 0.94 and rng.random() < (0.75 if share < 0.55 else 0.5):
        return PIECE
    return 192 if share < 0.3 else 256 if share < 0.55 else SIZE


class Trainer:
    def __init__(self, args):
        self.args, self.spent, self.step, self.seen = args, 0.0, 0, 0
        torch.manual_seed(11)
        self.device = torch.device(args.device)
        # Where others compute too, only processor time says how much was trained; a GPU is one's own.
        self.clock = time.process_time if self.device.type == "cpu" else time.monotonic
        self.net = Net().to(self.device, memory_format=torch.channels_last)
        self.mean = Net().to(self.device)
        self.mean.load_state_dict(self.net.state_dict())
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}], lr=args.rate
        )
        self.checkpoint = args.work / "checkpoint.pt"
        self.stopped = False
        if self.checkpoint.exists():
            kept = torch.load(self.checkpoint, map_location=self.device)
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
        order, said, saved = {True: [], False: []}, time.monotonic(), time.monotonic()
        budget, losses = self.minutes() * 60, []
        self.net.train()
        while self.spent < budget and not self.stopped:
            began = self.clock()
            share = self.spent / budget
            size = step_at(share, rng)
            pieces = size == PIECE
            batch = self.args.batch * (4 if pieces else 1)
            if len(order[pieces]) < batch:
                # Pieces come from frames that have something to cut around.
                order[pieces] = [n for n, b in enumerate(frames.boxes) if not pieces or (b[:, 4] != PARCEL).any()]
                rng.shuffle(order[pieces])
            chosen, order[pieces] = order[pieces][:batch], order[pieces][batch:]
            pictures, boxes, side = batch_of(frames, chosen, pieces, rng)
            x = lit(pictures, size, self.device)
            heat, sides = targets(boxes, size // STRIDE, size / side, self.device)
            for group in self.optimizer.param_groups:
                group["lr"] = rate_at(share, self.args.rate)
            logit, distance = self.net(x)
            first, second = heat_loss(logit, heat, not pieces), side_loss(distance, sides)
            third = kind_loss(logit, sides)
            self.optimizer.zero_grad(set_to_none=True)
            (first + 2.0 * second + 0.5 * third).backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
            self.optimizer.step()
            self.follow()
            self.step, self.seen = self.step + 1, self.seen + len(chosen)
            losses.append((first.item(), second.item(), third.item()))
            now = time.monotonic()
            self.spent += self.clock() - began
            if now - said > 30:
                means = np.mean(losses, 0)
                print(
                    f"{self.spent / 60:.1f} min  step {self.step}  {self.seen} pictures  {x.shape[2]} px  "
                    f"heat {means[0]:.3f}  sides {means[1]:.3f}  kind {means[2]:.3f}",
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
    args.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(args)
    train = [("train", seed, args.frames) for seed in TRAIN_SEEDS]
    if not args.finish:
        frames = Frames([drawn(args, *t) for t in train])
        if args.device != "cpu":
            frames.decode(args.threads)
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
        "device": "cpu" if args.device == "cpu" else torch.cuda.get_device_name(),
        "minutes": round(trainer.spent / 60, 1),
        "torch": torch.__version__,
    }
    measure.export_and_measure(trainer.mean.cpu(), args, sets, training)


if __name__ == "__main__":
    main()
