"""One measurement of PyTorch or onnxruntime on the CPU, in a process of its own, on two threads.

    peer.py train|train_frozen SHAPE channels_last|nchw|compile
    peer.py infer SHAPE onnxruntime|jit
    peer.py detector PRESETbBATCH channels_last|nchw

With --cpu: on one thread, and by the processor time it took, of which the shortest counts.

Prints the median speed in images per second (`figure speed`) and the peak memory (`figure rss`).
"""

import re
import resource
import statistics
import sys
import tempfile
import time

import torch
import torchvision

import detector

CPU = "--cpu" in sys.argv
THREADS = 1 if CPU else 2
WARM_UP = 3
SECONDS = 4
STEPS_MIN = 10


def median(step):
    """Median seconds of at least ten steps after the warm-up."""
    clock = time.process_time if CPU else time.perf_counter
    for _ in range(WARM_UP):
        step()
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < STEPS_MIN or time.perf_counter() < end:
        start = clock()
        step()
        times.append(clock() - start)
    return min(times) if CPU else statistics.median(times)


def shape(text):
    """`w1.0@96b8`: width, side, batch."""
    width, side, batch = re.fullmatch(r"w([\d.]+)@(\d+)b(\d+)", text).groups()
    return float(width), int(side), int(batch)


def layout(name):
    return torch.contiguous_format if name == "nchw" else torch.channels_last


def train(text, how, frozen):
    """A step of plain SGD on the feature extractor; the loss is the mean of the output."""
    width, side, batch = shape(text)
    network = torchvision.models.mobilenet_v2(width_mult=width).features.to(memory_format=layout(how))
    if frozen:
        network.eval()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.requires_grad_(False)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    images = torch.randn(batch, 3, side, side).contiguous(memory_format=layout(how))
    forward = torch.compile(network) if how == "compile" else network

    def step():
        optimiser.zero_grad()
        forward(images).mean().backward()
        optimiser.step()

    return batch / median(step)


def infer(text, how):
    width, side, batch = shape(text)
    network = torchvision.models.mobilenet_v2(width_mult=width).features.eval()
    images = torch.randn(batch, 3, side, side)
    if how == "jit":
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, images)))
        with torch.inference_mode():
            return batch / median(lambda: frozen(images))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        torch.onnx.export(network, (images,), file.name, dynamo=False)
        session = onnxruntime.InferenceSession(file.name, options, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: images.numpy()}
    return batch / median(lambda: session.run(None, inputs))


def train_detector(text, how):
    """A step of the whole detector: forward, assignment, loss, backward, clipping, AdamW, average of the weights."""
    preset, batch = re.fullmatch(r"(\w+?)b(\d+)", text).groups()
    step = detector.training(preset, int(batch), layout(how))
    return int(batch) / median(step)


def main():
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    kind, text, how = sys.argv[1:4]
    if kind == "infer":
        speed = infer(text, how)
    elif kind == "detector":
        speed = train_detector(text, how)
    else:
        speed = train(text, how, kind == "train_frozen")
    print(f"figure speed {speed:.2f} img/s")
    print(f"figure rss {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
