"""Export of a trained network, and the figures of the exported file.

In:   a network, folders of frames with labels.jsonl.
Out:  weir-floor.onnx, metrics.json, MODEL_CARD.md.

Scores are fitted on frames of their own (`calibration`) before export, so that of the boxes with score s
about the share s is right. Every figure comes from the exported file through onnxruntime; precision, recall
and average precision are computed by `weir-render score`, the same code that weir's tests use.
"""

import hashlib
import json
import subprocess
import time

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

import card
from net import BRANDS, NAMES, PARCEL, SIZE, Detector

THRESHOLD = 0.5
# Boxes below are not scored; the readers leave them out too.
SCORE_MIN = 0.001
OVERLAPS = [0.5 + 0.05 * step for step in range(10)]
# Frames of each measured domain that weir's own tests measure again, through its own reader.
FIRST = 200


def labels(folder):
    with open(folder / "labels.jsonl") as lines:
        return [json.loads(line) for line in lines]


def picture(file):
    return np.asarray(Image.open(file).convert("RGB"))


def export(detector, path):
    detector.eval()
    images = torch.zeros(1, 3, SIZE, SIZE)
    options = {"dynamo": False} if "dynamo" in torch.onnx.export.__code__.co_varnames else {}
    torch.onnx.export(
        detector,
        images,
        str(path),
        opset_version=13,
        input_names=["images"],
        output_names=["detections"],
        dynamic_axes={"images": {0: "n"}, "detections": {0: "n"}},
        **options,
    )
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    for key, value in (("names", json.dumps(NAMES)), ("weir_format", "boxes-v1")):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


def session_of(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def detect(session, folder):
    """Per frame its label and its [100, 6] boxes; and the median of the milliseconds that a frame computes."""
    results, spent = [], []
    for label in labels(folder):
        image = picture(folder / label["file"]).astype(np.float32).transpose(2, 0, 1)[None] / 255.0
        began = time.process_time()
        (boxes,) = session.run(["detections"], {"images": image})
        spent.append(time.process_time() - began)
        results.append((label, boxes[0]))
    return results, 1000 * float(np.median(spent))


def overlaps(boxes, others):
    """IoU of [n, 4] with [m, 4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    both = np.clip(high - low, 0, None).prod(2)
    area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return both / np.maximum(area(boxes)[:, None] + area(others)[None] - both, 1e-9)


def true_boxes(label):
    rows = [[t["x1"], t["y1"], t["x2"], t["y2"], NAMES.index(t["class"])] for t in label["truth"]]
    return np.array(rows, np.float32).reshape(-1, 5)


def judged(results):
    """Per found box of some score: its logit, its class, and whether it hits a free true box."""
    rows = []
    for label, boxes in results:
        truth = true_boxes(label)
        free = np.ones(len(truth), bool)
        iou = overlaps(boxes[:, :4], truth[:, :4]) if len(truth) else np.zeros((len(boxes), 0))
        for number, box in enumerate(boxes):
            score = float(np.clip(box[4], 1e-6, 1 - 1e-6))
            if score < 0.01:
                break
            fit = np.where(free & (truth[:, 4] == box[5]), iou[number], 0.0)
            best = int(fit.argmax()) if len(fit) else -1
            hit = best >= 0 and fit[best] >= 0.5
            if hit:
                free[best] = False
            rows.append((np.log(score / (1 - score)), int(box[5]), hit))
    return rows


def calibrated(results):
    """Scale and shift of the logits, one pair for all brands, one for parcels, one for barcodes."""
    rows = judged(results)
    scale, shift = [1.0] * len(NAMES), [0.0] * len(NAMES)
    for group in (range(len(BRANDS)), [PARCEL], [NAMES.index("barcode")]):
        logits = np.array([l for l, kind, _ in rows if kind in group])
        hits = np.array([float(h) for _, kind, h in rows if kind in group])
        if len(logits) < 50 or hits.min() == hits.max():
            continue
        a, b = 1.0, 0.0
        for _ in range(50):  # Newton's method on the logistic likelihood
            p = 1 / (1 + np.exp(-(a * logits + b)))
            weight = p * (1 - p) + 1e-9
            slope = np.array([((p - hits) * logits).sum(), (p - hits).sum()])
            curve = np.array(
                [[(weight * logits**2).sum() + 1e-6, (weight * logits).sum()], [(weight * logits).sum(), weight.sum()]]
            )
            step = np.linalg.solve(curve, slope)
            a, b = a - step[0], b - step[1]
            if abs(step).max() < 1e-6:
                break
        if a > 0:
            for kind in group:
                scale[kind], shift[kind] = float(a), float(b)
    return scale, shift


def scored(args, results, name, overlaps=OVERLAPS):
    """`weir-render score` at the first of `overlaps`, and the mean average precision at each of them."""
    found, known = args.work / f"found-{name}.jsonl", args.work / f"known-{name}.jsonl"
    with open(found, "w") as out, open(known, "w") as truth:
        for label, boxes in results:
            rows = [[round(float(v), 5) for v in box] for box in boxes if box[4] > SCORE_MIN]
            out.write(json.dumps({"file": label["file"], "boxes": rows}) + "\n")
            truth.write(json.dumps(label) + "\n")
    means = []
    for step, overlap in enumerate(overlaps):
        command = [args.render, "score", "--labels", known, "--found", found]
        command += ["--iou", overlap, "--threshold", THRESHOLD]
        text = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
        report = json.loads(text)
        means.append(report["mean_average_precision"])
        if step == 0:
            at_first = report
    return at_first, means


def decisions(results, threshold):
    """What happens to each true mark: right brand, another brand, nothing; and marks where there is none."""
    right = wrong = missed = stray = total = 0
    for label, boxes in results:
        truth = true_boxes(label)
        truth = truth[truth[:, 4] < len(BRANDS)]
        found = boxes[(boxes[:, 4] >= threshold) & (boxes[:, 5] < len(BRANDS))]
        iou = overlaps(found[:, :4], truth[:, :4])
        total += len(truth)
        for number, true in enumerate(truth):
            near = found[iou[:, number] >= 0.4]
            if (near[:, 5] == true[4]).any():
                right += 1
            elif len(near):
                wrong += 1
            else:
                missed += 1
        if len(found):
            stray += int((iou.max(1, initial=0.0) < 0.4).sum())
    share = lambda n: round(n / max(total, 1), 4)
    return {
        "threshold": threshold,
        "right": share(right),
        "wrong_brand": share(wrong),
        "missed": share(missed),
        "stray_per_frame": round(stray / max(len(results), 1), 4),
    }


def figures(args, session, folder, name):
    results, milliseconds = detect(session, folder)
    report, means = scored(args, results, name)
    rounded = lambda v: None if v is None else round(v, 4)
    first = scored(args, results[:FIRST], name, [0.5, 0.75])[1]
    classes = {
        kind: {key: value if isinstance(value, int) else rounded(value) for key, value in row.items()}
        for kind, row in report["classes"].items()
    }
    return {
        "frames": report["frames"],
        "map50": rounded(report["mean_average_precision"]),
        "map50_95": rounded(float(np.mean(means))),
        "first": {"frames": min(FIRST, len(results)), "map50": rounded(first[0]), "map75": rounded(first[1])},
        "threshold": THRESHOLD,
        "classes": classes,
        "marks": [decisions(results, t) for t in (0.3, 0.5, 0.7)],
        "processor_milliseconds_per_frame": round(milliseconds, 2),
    }


def export_and_measure(net, args, sets, training):
    path = args.out / "weir-floor.onnx"
    # The size at which the network looks is the one that does best on the calibration frames.
    raw, best = args.work / "raw.onnx", None
    for inner in args.inner:
        export(Detector(net, inner=inner), raw)
        results, _ = detect(session_of(raw, args.threads), sets["calibration"])
        found = scored(args, results, "calibration", [0.5])[1][0]
        print(f"at {inner} pixels: mAP50 {found:.3f} on calibration frames", flush=True)
        if best is None or found > best[0]:
            best = (found, inner, results)
    _, inner, results = best
    scale, shift = calibrated(results)
    export(Detector(net, scale, shift, inner), path)

    # The file must say what the network says.
    image = picture(sets["held_out"] / labels(sets["held_out"])[0]["file"])
    image = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255.0
    with torch.no_grad():
        own = Detector(net, scale, shift, inner).eval()(image)[0, :, 4].numpy()
    # One thread: what is measured of time is that of one core.
    session = session_of(path, 1)
    (theirs,) = session.run(["detections"], {"images": image.numpy()})
    assert np.abs(own - theirs[0, :, 4]).max() < 1e-3, "the exported file differs from the network"

    data = path.read_bytes()
    metrics = {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in net.parameters()),
        "names": NAMES,
        "inner_pixels": inner,
        "calibration": {"frames": len(results), "scale": scale, "shift": shift},
        "training": training,
        "onnxruntime": onnxruntime.__version__,
        "held_out": figures(args, session, sets["held_out"], "held-out"),
        "shifted": figures(args, session, sets["shifted"], "shifted"),
    }
    text = json.dumps(metrics, indent=2) + "\n"
    (args.out / "metrics.json").write_text(text)
    (args.out / "MODEL_CARD.md").write_text(card.card(metrics))
    print(f"held out {metrics['held_out']['map50']}  shifted {metrics['shifted']['map50']}  {len(data)} bytes")
