# SPDX-License-Identifier: Apache-2.0
"""The real dstack server on loopback, with nothing rented.

One backend whose key is not checked, offers from an offline catalogue, and a machine that
is a process of this one (`node.py`). Waiting times are shortened; all else is dstack's.

Usage: server.py PORT TOKEN FOLDER
"""

import pathlib
import subprocess
import sys
import uuid
from datetime import timedelta

from dstack._internal.core.backends.base.authorized_keys import build_authorized_keys
from dstack._internal.core.backends.runpod import compute, configurator
from dstack._internal.core.models.runs import JobProvisioningData
from dstack._internal.server.background.pipeline_tasks import base, jobs_running

NODE = pathlib.Path(__file__).with_name("node.py")
NODES = {}


def run_job(
    self,
    run,
    job,
    instance_offer,
    project_ssh_public_key,
    project_ssh_private_key,
    volumes,
    placement_group,
    requirements,
    extra_authorized_keys,
):
    """Start a node instead of renting a machine."""
    keys = build_authorized_keys(project_ssh_public_key, extra_authorized_keys)
    name = uuid.uuid4().hex[:8]
    with open(FOLDER / f"node-{name}.log", "wb") as log:
        command = [sys.executable, str(NODE), "\n".join([*keys, ""])]
        node = NODES[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    return JobProvisioningData(
        backend=instance_offer.backend,
        instance_type=instance_offer.instance,
        instance_id=name,
        hostname="127.0.0.1",
        internal_ip="127.0.0.1",
        region=instance_offer.region,
        price=instance_offer.price,
        username="root",
        ssh_port=int(node.stdout.readline()),
        dockerized=False,
    )


def terminate_instance(self, instance_id, region, backend_data=None):
    """End the node."""
    node = NODES.pop(instance_id, None)
    if node is not None:
        node.kill()
        node.wait()


def hurry():
    """Let every loop of the server look again soon."""
    for kind in (base.Pipeline, base.Fetcher):

        def init(self, *args, _plain=kind.__init__, **settings):
            settings["min_processing_interval"] = timedelta(seconds=0.5)
            _plain(self, *args, **settings)

        kind.__init__ = init
    base.Fetcher._DEFAULT_FETCH_DELAYS = [0.2, 0.5]
    jobs_running.JOB_DISCONNECTED_RETRY_TIMEOUT = timedelta(seconds=4)


if __name__ == "__main__":
    PORT, TOKEN, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    configurator.RunpodConfigurator._validate_runpod_api_key = lambda self, key: None
    compute.RunpodCompute.run_job = run_job
    compute.RunpodCompute.terminate_instance = terminate_instance
    hurry()
    from dstack._internal.cli.main import main

    sys.argv = ["dstack", "server", "--host", "127.0.0.1", "--port", PORT, "--token", TOKEN, "-n"]
    main()
