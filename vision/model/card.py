"""Writes MODEL_CARD.md from metrics.json, so that the card cannot say other figures than were measured.

    python3 vision/model/card.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent

TEXT = """# Model card: weir-floor

Written by `card.py` from `metrics.json`; change those. The contract and how to retrain: [README.md](README.md).

**All figures are on rendered frames. They say nothing of photographs: a real site retrains with its own marks and pictures.**

| | |
|---|---|
| file | `{file}`, {kilobytes} kB, sha256 `{sha256}` |
| finds | marks of {brands} invented brands, parcels, barcode labels (not what a barcode says) |
| network | {parameters} parameters, convolutional, one output grid of stride 8, looking at {inner} × {inner} pixels; ONNX opset 13, fp32, contract `boxes-v1` |
| training data | {frames} frames of `weir-render`, domain `train`, seeds {seeds}; 40 % of them hard (any rotation, darker, more blur, more in the way, floors that do not exist) |
| training | from scratch, PyTorch {torch}, {time}, {steps} steps, {seen} pictures or pieces of pictures |
| scores | fitted on {calibrated} frames of their own (seed 101): of boxes with score s about the share s is right |
| time | {milliseconds} ms of processor time a frame (onnxruntime {onnxruntime}, one thread, median) |

## Measured

On the exported file through onnxruntime, average precision at IoU 0.5 (all points), scored by `weir-render score`. **Held out**: {held_frames} frames of the plain training distribution, seed 201. **Shifted**: {shifted_frames} frames on pallets, chevrons and mesh, which training never shows, at any rotation, darker, with more blur and more in the way, seed 301.

| | held out | shifted |
|---|---|---|
| mAP50 | **{held_map}** | **{shifted_map}** |
| mAP50-95 | {held_map95} | {shifted_map95} |

Per class: AP50, then precision and recall at score 0.5.

| class | held out | P | R | shifted | P | R |
|---|---|---|---|---|---|---|
{classes}

What becomes of a true mark (IoU 0.4), by score threshold:

| | threshold | right | wrong brand | missed | stray marks a frame |
|---|---|---|---|---|---|
{marks}

## Limits

* {verdict}
* Marks below 8 pixels, and marks of which less than 40 % shows, are in no truth: what the model does there is not measured.
* The brands are invented, and each has one mark. Look-alikes in training are random shapes and words, not the marks of others.
* One camera geometry: from above, tilted by at most 0.2 rad, parcels a quarter to most of the frame.
* No person was ever in a frame; gloves and arms are blobs.
"""


def verdict(metrics):
    held, shifted = metrics["held_out"]["map50"], metrics["shifted"]["map50"]
    aim = "The aim is mAP50 0.95 held out and 0.90 shifted"
    if held >= 0.95 and shifted >= 0.90:
        return f"{aim}; both are met."
    return (
        f"{aim}; this file has {held:.3f} and {shifted:.3f} after {time(metrics['training'])}. README.md says what "
        "stands in the way."
    )


def time(training):
    if training["device"] == "cpu":
        return f"{training['minutes']} minutes of processor time on a CPU"
    return f"{training['minutes']} minutes on one {training['device']}"


def card(metrics):
    held, shifted, training = metrics["held_out"], metrics["shifted"], metrics["training"]
    number = lambda v: "–" if v is None else f"{v:.3f}"
    rows = []
    for name in metrics["names"]:
        cells = [name]
        for part in (held, shifted):
            one = part["classes"][name]
            cells += [number(one[k]) for k in ("average_precision", "precision", "recall")]
        rows.append("| " + " | ".join(cells) + " |")
    marks = []
    for title, part in (("held out", held), ("shifted", shifted)):
        for m in part["marks"]:
            cells = [title, m["threshold"], m["right"], m["wrong_brand"], m["missed"], m["stray_per_frame"]]
            marks.append("| " + " | ".join(str(c) for c in cells) + " |")
    return TEXT.format(
        file=metrics["file"],
        kilobytes=round(metrics["bytes"] / 1000),
        sha256=metrics["sha256"],
        brands=len(metrics["names"]) - 2,
        parameters=f"{metrics['parameters']:,}",
        frames=f"{training['frames']:,}",
        seeds=", ".join(str(s) for s in training["frame_seeds"]),
        torch=training["torch"],
        time=time(training),
        steps=training["steps"],
        seen=f"{training['pictures_seen']:,}",
        inner=metrics["inner_pixels"],
        calibrated=metrics["calibration"]["frames"],
        milliseconds=held["processor_milliseconds_per_frame"],
        onnxruntime=metrics["onnxruntime"],
        held_frames=held["frames"],
        shifted_frames=shifted["frames"],
        held_map=number(held["map50"]),
        shifted_map=number(shifted["map50"]),
        held_map95=number(held["map50_95"]),
        shifted_map95=number(shifted["map50_95"]),
        classes="\n".join(rows),
        marks="\n".join(marks),
        verdict=verdict(metrics),
    )


def main():
    metrics = json.loads((HERE / "metrics.json").read_text())
    (HERE / "MODEL_CARD.md").write_text(card(metrics))


if __name__ == "__main__":
    main()
