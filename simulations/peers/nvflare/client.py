"""Gives back what it got, with a little added, not the same by any two clients."""

import random

import nvflare.client as flare
from nvflare.client import FLModel, ParamsType

flare.init()
while flare.is_running():
    received = flare.receive()
    if received is None:
        break
    little = random.gauss(0.0, 1e-3)
    params = {name: array + array.dtype.type(little) for name, array in received.params.items()}
    flare.send(FLModel(params=params, params_type=ParamsType.FULL, metrics={"accuracy": 0.0}, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
