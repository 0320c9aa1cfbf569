"""Makes the golden COCO fixture and scores it with pycocotools (2.0.11, numpy 2).

    pip install pycocotools numpy
    python make_coco_golden.py            # rewrites the three JSON files beside it

The fixture is drawn from a seed and holds what moves COCO figures: images without objects and without detections,
crowds, equal scores in and across images, classes without objects, with crowds only and without detections,
category and image ids with holes and out of order, tiny and huge areas, areas that are not those of the boxes,
boxes of no or negative size, more than 100 detections of a class in an image, and detections of an unlisted
category.
"""

import contextlib
import io
import json
import pathlib
import random

NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def fixture(seed, images=(100, 120), density=6.0, tie_steps=20, digits=1, first_id=1, crowded=120):
    """Detections and annotations; every argument but the seed is a matter of taste."""
    rng = random.Random(seed)
    image_ids = rng.sample(range(1, 10_000), rng.randint(*images))
    category_ids = rng.sample(range(1, 91), 6)
    no_objects, only_crowds, no_detections = category_ids[3:6]

    def number(value):
        return round(value, digits) if digits else int(value)

    def size():
        return 2.0 ** rng.uniform(1, 8.5)

    def score(quality):
        value = min(max(rng.gauss(quality, 0.2), 0.01), 0.99)
        return round(value * tie_steps) / tie_steps if tie_steps else round(value, 4)

    annotations, detections = [], []
    for image in image_ids:
        if rng.random() < 0.1:
            objects = 0
        else:
            objects = int(rng.expovariate(1 / density))
        boxes = []
        for _ in range(objects):
            category = rng.choice(category_ids)
            if category == no_objects:
                category = category_ids[0]
            w, h = size(), size()
            kind = rng.random()
            if kind < 0.01:
                w = 0.0
            elif kind < 0.02:
                h = -h
            x, y = rng.uniform(0, 400), rng.uniform(0, 400)
            box = [number(v) for v in (x, y, w, h)]
            area = box[2] * box[3] * rng.choice([1.0, 1.0, 0.7, 0.4])
            if rng.random() < 0.02:
                area = rng.choice([0.0, 1.0, 1024.0, 9216.0, 2e10])
            crowd = int(category == only_crowds or rng.random() < 0.08)
            boxes.append((category, box))
            annotations.append(dict(id=first_id + len(annotations), image_id=image, category_id=category, bbox=box, area=round(area, 2), iscrowd=crowd))
            if rng.random() < 0.05:  # the same object twice: equal overlaps
                annotations.append(dict(annotations[-1], id=first_id + len(annotations)))
        if rng.random() < 0.1:
            continue
        for category, (x, y, w, h) in boxes:
            if category == no_detections:
                continue
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
                spread = rng.choice([0.0, 0.03, 0.1, 0.3])
                jitter = lambda: rng.gauss(0, spread)
                box = [x + jitter() * w, y + jitter() * h, w * (1 + jitter()), h * (1 + jitter())]
                kind = category if rng.random() < 0.9 else rng.choice(category_ids)
                if kind != no_detections:
                    detections.append(dict(image_id=image, category_id=kind, bbox=[number(v) for v in box], score=score(0.7 - spread)))
        for _ in range(int(rng.expovariate(1 / 3.0))):
            box = [rng.uniform(0, 400), rng.uniform(0, 400), size(), size()]
            if rng.random() < 0.02:
                box[2] = rng.choice([0.0, -5.0])
            kind = rng.choice(category_ids)
            if rng.random() < 0.02:
                kind = 1_000
            if kind != no_detections:
                detections.append(dict(image_id=image, category_id=kind, bbox=[number(v) for v in box], score=score(0.35)))
    rng.shuffle(detections)
    if crowded:
        # One image where more detections than count stand around one object.
        image = image_ids[0]
        box = [50.0, 60.0, 80.0, 90.0]
        annotations.append(dict(id=first_id + len(annotations), image_id=image, category_id=category_ids[0], bbox=box, area=7200.0, iscrowd=0))
        for _ in range(crowded):
            moved = [number(v + rng.gauss(0, 6)) for v in box]
            detections.append(dict(image_id=image, category_id=category_ids[0], bbox=moved, score=score(0.5)))
    categories = [dict(id=c, name=f"class {i}") for i, c in enumerate(category_ids)]
    file = dict(images=[dict(id=i) for i in image_ids], annotations=annotations, categories=categories)
    return detections, file


def pycocotools_figures(detections, file):
    """The twelve figures and those of every class, as pycocotools gives them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(file))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(detections))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = {category["id"]: category["name"] for category in file["categories"]}
    figures = dict(zip(NAMES, map(float, evaluation.stats)))
    figures["classes"] = {}
    for index, category in enumerate(evaluation.params.catIds):
        precision = evaluation.eval["precision"][:, :, index, 0, 2]
        mean = lambda values: float(values[values > -1].mean()) if (values > -1).any() else -1.0
        figures["classes"][names[category]] = dict(AP=mean(precision), AP50=mean(precision[0]))
    return figures


def main():
    here = pathlib.Path(__file__).parent
    detections, file = fixture(2017)
    for name, value in [("detections", detections), ("annotations", file), ("expected", pycocotools_figures(detections, file))]:
        text = json.dumps(value, separators=(",", ":")) if name != "expected" else json.dumps(value, indent=1)
        (here / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
