"""Writes the PyTorch checkpoints that the tests of torch.rs read, in both forms. Made with PyTorch 2.15."""
from collections import OrderedDict
from pathlib import Path

import torch

here = Path(__file__).parent
base = torch.arange(12, dtype=torch.float32) / 4
state = OrderedDict()
state["plain"] = (base.reshape(3, 4) - 1).clone()
state["transposed"] = base.reshape(3, 4).t()  # a view: strides 1, 4
state["tail"] = base[7:]  # shares the storage, offset 7
state["scalar"] = torch.tensor(2.5)
state["double"] = torch.tensor([0.1, -3.0], dtype=torch.float64)
state["half"] = torch.tensor([0.5, 65504.0], dtype=torch.float16)
state["brain"] = torch.tensor([1.0, -0.0078125], dtype=torch.bfloat16)
state["parameter"] = torch.nn.Parameter(torch.ones(2))
state["counter"] = torch.tensor(41)  # integers are no weights
state._metadata = OrderedDict([("", {"version": 2})])
torch.save(state, here / "small.pth")
torch.save(state, here / "small_legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"epoch": 3, "lr": 0.1, "done": True, "state_dict": state}, here / "nested.pth")
