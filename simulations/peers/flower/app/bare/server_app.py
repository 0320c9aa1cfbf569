"""Federated averaging as Flower has it, with the times at which rounds begin."""

import time

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

TENSORS = 64

app = ServerApp()


class Stamped(FedAvg):
    """Appends the time to a file when a round begins and when the last has ended."""

    def __init__(self, clients, stamps):
        everyone = {"min_train_nodes": clients, "min_available_nodes": clients}
        super().__init__(fraction_train=1.0, fraction_evaluate=0.0, **everyone)
        self.clients, self.stamps = clients, stamps

    def stamp(self):
        with open(self.stamps, "a", encoding="utf-8") as file:
            file.write(f"{time.time()}\n")

    def configure_train(self, server_round, *arguments):
        self.stamp()
        return super().configure_train(server_round, *arguments)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        good = sum(not reply.has_error() for reply in replies)
        if good != self.clients:
            raise RuntimeError(f"round {server_round}: {good} replies of {self.clients}")
        return super().aggregate_train(server_round, replies)


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    values = np.sin(0.37 * np.arange(config["values"], dtype=np.float32))
    initial = ArrayRecord(np.array_split(values, TENSORS))
    strategy = Stamped(config["clients"], config["stamps"])
    strategy.start(grid=grid, initial_arrays=initial, num_rounds=config["rounds"])
    strategy.stamp()
