"""Makes loss.json: the detection loss of a small batch by PyTorch and its autograd (torch 2, double precision).

    pip install torch
    python make_loss_golden.py            # rewrites loss.json beside it

Inputs are given by integer arithmetic, so that the test can make the same ones. Assignment is written here with
dense matrices over all boxes and locations.
"""

import json
import pathlib

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

WIDTH, HEIGHT, STRIDES, CLASSES = 96, 64, (8, 16, 32), 3
# Per image: x1, y1, x2, y2, class. Overlapping, tiny, equal in area, larger than every level's range, off-centre.
BOXES = [
    [[10, 12, 40, 50, 0], [20, 20, 32, 44, 1], [61, 33, 64, 35, 2], [2, 1, 94, 63, 1]],
    [[8, 8, 24, 24, 2], [16, 8, 32, 24, 0], [70, 5, 95, 60, 1]],
]


def noise(index, salt):
    """A number in [0, 1), the same in every language."""
    return (index * index * 7919 + index * 104_729 + salt) % 65_536 / 65_536


def locations():
    rows = []
    for level, stride in enumerate(STRIDES):
        for row in range(-(-HEIGHT // stride)):
            for column in range(-(-WIDTH // stride)):
                rows.append(((column + 0.5) * stride, (row + 0.5) * stride, stride, level))
    return torch.tensor(rows, dtype=torch.float64)


def overlaps(a, b):
    """IoU and GIoU of two lists of boxes, elementwise."""
    w = (torch.min(a[..., 2], b[..., 2]) - torch.max(a[..., 0], b[..., 0])).clamp(min=0)
    h = (torch.min(a[..., 3], b[..., 3]) - torch.max(a[..., 1], b[..., 1])).clamp(min=0)
    area = lambda x: (x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1])
    union = area(a) + area(b) - w * h
    hull = (torch.max(a[..., 2], b[..., 2]) - torch.min(a[..., 0], b[..., 0])) * (
        torch.max(a[..., 3], b[..., 3]) - torch.min(a[..., 1], b[..., 1])
    )
    return w * h / union, w * h / union - (hull - union) / hull


def assign(phase, at, logits, predicted, boxes, classes):
    """For one image: box index per location or -1, and class target per location."""
    b = boxes[:, None, :]
    inside = (at[:, 0] > b[..., 0]) & (at[:, 1] > b[..., 1]) & (at[:, 0] < b[..., 2]) & (at[:, 1] < b[..., 3])
    iou = overlaps(predicted[None], b)[0]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = (at[None, :, :2] - middle[:, None]).abs().max(-1).values
    far = torch.full_like(distance, 1e9)
    if phase == "static":
        side = (boxes[:, 2:] - boxes[:, :2]).max(-1).values
        level = (side >= 64).long() + (side >= 128).long()
        here = at[None, :, 3] == level[:, None]
        candidate = inside & here & (distance < 1.5 * at[None, :, 2])
        for index in range(len(boxes)):
            if not candidate[index].any():
                candidate[index, torch.where(here[index], distance[index], far[index]).argmin()] = True
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:, None].expand_as(iou)
        least, index = torch.where(candidate, area, far).min(0)
        target = 0.5 + 0.5 * iou.gather(0, index[None])[0]
        return torch.where(least < 1e9, index, -1), torch.where(least < 1e9, target, 0.0)
    alignment = torch.sigmoid(logits)[:, classes].T * iou**3 * inside
    for index in range(len(boxes)):
        if not inside[index].any():
            nearest = torch.where(at[:, 3] == 0, distance[index], far[index]).argmin()
            value = torch.sigmoid(logits[nearest, classes[index]]) * iou[index, nearest] ** 3
            alignment[index, nearest] = value.clamp(min=1e-9)
    best = alignment.topk(10, -1)
    candidate = torch.zeros_like(alignment, dtype=torch.bool).scatter_(1, best.indices, best.values > 0)
    highest, index = torch.where(candidate, iou, -1.0).max(0)
    taken = highest >= 0
    own = candidate & (index[None] == torch.arange(len(boxes))[:, None]) & taken
    alignment, iou = alignment * own, iou * own
    top = alignment.max(-1, keepdim=True).values
    ratio = torch.where(top > 0, alignment / top.clamp(min=1e-300), 0.0)
    return torch.where(taken, index, -1), (ratio * iou.max(-1, keepdim=True).values).sum(0)


def main():
    at = locations()
    count = len(at)
    images = len(BOXES)
    values = lambda size, salt: [noise(i, salt) for i in range(size)]
    result = {}
    for phase in ("static", "task_aligned"):
        logits = torch.tensor(values(images * count * CLASSES, 17), dtype=torch.float64).reshape(images, count, CLASSES)
        logits = (logits * 8 - 6).requires_grad_()
        raw = torch.tensor(values(images * count * 4, 4242), dtype=torch.float64).reshape(images, count, 4)
        raw = (raw * 4 - 1).requires_grad_()
        d = softplus(raw) * at[None, :, 2:3]
        predicted = torch.cat([at[None, :, :2] - d[..., :2], at[None, :, :2] + d[..., 2:]], -1)
        quality = torch.zeros_like(logits)
        positives, box_loss, norm, iou_sum = [], 0.0, 0.0, 0.0
        for image, rows in enumerate(BOXES):
            boxes = torch.tensor(rows, dtype=torch.float64)[:, :4]
            classes = torch.tensor([row[4] for row in rows])
            index, target = assign(phase, at, logits[image].detach(), predicted[image].detach(), boxes, classes)
            for location in (index >= 0).nonzero()[:, 0].tolist():
                box, t = int(index[location]), float(target[location])
                quality[image, location, classes[box]] = t
                positives.append([image, location, box, round(t, 9)])
                iou, giou = overlaps(predicted[image, location], boxes[box])
                box_loss = box_loss + t * (1 - giou)
                iou_sum += float(iou.detach())
                norm += t
        norm = max(norm, 1.0)
        entropy = binary_cross_entropy_with_logits(logits, quality, reduction="none")
        class_loss = ((quality - logits.sigmoid()) ** 2 * entropy).sum() / norm
        box_loss = 2 * box_loss / norm
        (class_loss + box_loss).backward()
        compact = lambda tensor: [float(f"{v:.6g}") for v in tensor.flatten().tolist()]
        result[phase] = {
            "class": class_loss.item(),
            "boxes": box_loss.item(),
            "target_sum": norm,
            "mean_iou": iou_sum / len(positives),
            "positives": positives,
            "grad_logits": compact(logits.grad),
            "grad_boxes": compact(raw.grad),
        }
    text = json.dumps(result, separators=(",", ":"))
    (pathlib.Path(__file__).parent / "loss.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
