"""Fovea's detector in PyTorch: the same network, assignment and losses, written as a PyTorch user would."""

import math

import torch
import torch.nn.functional as F
from torch import nn

# width, side, strides, channels, bottom-up path, units of the head: shared/model/src/preset/*.rs
PRESETS = {
    "nano96": (0.35, 96, (8, 16), 32, False, 1),
    "small256": (0.5, 256, (8, 16, 32), 64, True, 2),
    "medium320": (1.0, 320, (8, 16, 32), 96, True, 2),
}
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
TAPS = {8: 3, 16: 5, 32: 7}
CLASSES = 3


def scaled(channels, width):
    target = channels * width
    rounded = max(8, int(target + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * target else rounded


def convolution(inputs, outputs, size, stride=1, groups=1, activate=True):
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if activate else nn.Sequential(*layers)


def unit(channels, stride=1):
    return nn.Sequential(convolution(channels, channels, 3, stride, channels), convolution(channels, channels, 1))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        layers = [convolution(inputs, hidden, 1)] if expansion > 1 else []
        layers += [convolution(hidden, hidden, 3, stride, hidden), convolution(hidden, outputs, 1, activate=False)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class Detector(nn.Module):
    def __init__(self, preset):
        super().__init__()
        width, self.side, self.strides, channels, bottom_up, units = PRESETS[preset]
        current = scaled(32, width)
        stages, tapped = [convolution(3, current, 3, 2)], []
        for number, (expansion, base, repeats, stride) in enumerate(STAGES[: TAPS[self.strides[-1]]], 1):
            outputs, blocks = scaled(base, width), []
            for repeat in range(repeats):
                blocks.append(InvertedResidual(current, outputs, stride if repeat == 0 else 1, expansion))
                current = outputs
            stages.append(nn.Sequential(*blocks))
            if number in [TAPS[stride] for stride in self.strides]:
                tapped.append((number, current))
        self.stages = nn.ModuleList(stages)
        self.taps = [number for number, _ in tapped]
        self.lateral = nn.ModuleList([convolution(c, channels, 1, activate=False) for _, c in tapped])
        finer = len(tapped) - 1
        self.top_down = nn.ModuleList([unit(channels) for _ in range(finer)])
        self.down = nn.ModuleList([unit(channels, 2) for _ in range(finer if bottom_up else 0)])
        self.merge = nn.ModuleList([unit(channels) for _ in range(finer if bottom_up else 0)])
        self.head = nn.Sequential(*[unit(channels) for _ in range(units)])
        self.classes = nn.Conv2d(channels, CLASSES, 1)
        self.boxes = nn.Conv2d(channels, 4, 1)
        self.personal = nn.Conv2d(channels, CLASSES, 1)
        for layer in (self.classes, self.personal):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.constant_(layer.bias, -math.log(99))
        places, sizes = [], []
        for stride in self.strides:
            line = (torch.arange(self.side // stride) + 0.5) * stride
            y, x = torch.meshgrid(line, line, indexing="ij")
            places.append(torch.stack([x, y], -1).view(-1, 2))
            sizes.append(torch.full((line.numel() ** 2, 1), float(stride)))
        self.places, self.sizes = torch.cat(places), torch.cat(sizes)

    def forward(self, x):
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in self.taps:
                levels.append(self.lateral[len(levels)](x))
        for at in reversed(range(len(levels) - 1)):
            levels[at] = self.top_down[at](levels[at] + F.interpolate(levels[at + 1], scale_factor=2.0))
        for at, (down, merge) in enumerate(zip(self.down, self.merge)):
            levels[at + 1] = merge(levels[at + 1] + down(levels[at]))
        features = [self.head(level) for level in levels]

        def join(layer, maps):
            return torch.cat([layer(z).flatten(2) for z in maps], 2).transpose(1, 2)

        personal = join(self.personal, [z.detach() for z in features])
        return join(self.classes, features), personal, join(self.boxes, features)

    def decode(self, boxes):
        distances = F.softplus(boxes) * self.sizes
        return torch.cat([self.places - distances[..., :2], self.places + distances[..., 2:]], -1)


def overlap(a, b):
    """IoU and generalised IoU of boxes pair by pair."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common + 1e-7
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1) + 1e-7
    return common / area, common / area - (hull - area) / hull


def assign(logits, predicted, truth, classes, places):
    """Task-aligned assignment: the object of each location (-1: none) and its class target."""
    images, locations, _ = logits.shape
    objects = truth.shape[1]
    inside = (places > truth[:, :, None, :2]).all(-1) & (places < truth[:, :, None, 2:]).all(-1)
    iou, _ = overlap(truth[:, :, None], predicted[:, None])
    score = logits.sigmoid().gather(2, classes[:, None].expand(images, locations, objects)).transpose(1, 2)
    alignment = score * iou**3 * inside
    value, at = alignment.topk(10, -1)
    chosen = torch.zeros_like(inside).scatter_(2, at, value > 0)
    best, owner = torch.where(chosen, iou + 1e-6, -1.0).max(1)
    mine = chosen & F.one_hot(owner, objects).transpose(1, 2).bool()
    alignment, iou = alignment * mine, iou * mine
    target = (alignment / (alignment.amax(-1, True) + 1e-9) * iou.amax(-1, True)).sum(1)
    positive = best >= 0
    return torch.where(positive, owner, -1), torch.where(positive, target, 0.0)


def loss(model, outputs, truth, classes):
    logits, personal, boxes = outputs
    predicted = model.decode(boxes)
    with torch.no_grad():
        owner, weight = assign(logits, predicted, truth, classes, model.places)
    image, location = (owner >= 0).nonzero(as_tuple=True)
    mine = owner[image, location]
    target = torch.zeros_like(logits)
    target[image, location, classes[image, mine]] = weight[image, location]
    norm = weight.sum().clamp(min=1.0)

    def focal(logits):
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return ((target - logits.sigmoid()).abs() ** 2 * entropy).sum() / norm

    _, giou = overlap(predicted[image, location], truth[image, mine])
    box = ((1 - giou) * weight[image, location]).sum() / norm
    return focal(logits) + focal(personal) + 2 * box


def training(preset, batch, memory_format):
    """A function that takes one training step on a fixed batch of noise with six objects in each image."""
    model = Detector(preset).to(memory_format=memory_format)
    average = [parameter.detach().clone() for parameter in model.parameters()]
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.05)
    images = torch.randn(batch, 3, model.side, model.side).contiguous(memory_format=memory_format)
    low = torch.rand(batch, 6, 2) * model.side * 0.6
    truth = torch.cat([low, low + model.side * (0.1 + 0.3 * torch.rand(batch, 6, 2))], -1)
    classes = torch.randint(CLASSES, (batch, 6))

    def step():
        optimiser.zero_grad()
        loss(model, model(images), truth, classes).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(model.parameters()), 0.01)

    return step
