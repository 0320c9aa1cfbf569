"""Submits the job: an admin's start-up kit, a file with the model, clients, rounds."""

import sys

from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.prod_env import ProdEnv

kit, model, clients, rounds = sys.argv[1:]
recipe = NumpyFedAvgRecipe(
    name="bare", initial_ckpt=model, min_clients=int(clients), num_rounds=int(rounds), train_script="client.py"
)
environment = ProdEnv(startup_kit_location=kit, username="admin@here.org", login_timeout=60.0)
print(recipe.execute(environment).get_job_id())
