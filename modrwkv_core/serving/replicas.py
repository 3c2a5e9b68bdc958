"""Replicas of one server on Ray Serve. Requests of one session go to the same replica, by consistent hashing.

The session's id stands in the header ``X-Session-Id``. Replicas share the folder of sessions, so that any of them goes
on with the sessions of one that is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import ray
from fastapi import FastAPI
from ray import serve
from ray.serve.config import RequestRouterConfig

from modrwkv_core.serving.app import create_app
from modrwkv_core.serving.engines import EngineSpec
from modrwkv_core.serving.settings import ServeSettings

__all__ = ["Replica", "run_replicas"]

_NAME: Final = "modrwkv"
_ROUTER: Final = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
_LOGGING: Final[Any] = {"log_level": "WARNING", "enable_access_log": False}
_SPARE_REQUESTS: Final = 64  # probes, and requests that a full replica itself refuses


class Replica:
    """The server in one process of Ray; Ray Serve calls all methods.

    Args:
        models: How to make the engines, by the name that requests call them.
        settings: Keys and limits.
        host: Address at which clients reach it.
    """

    def __init__(self, models: Mapping[str, EngineSpec], settings: ServeSettings, host: str) -> None:
        self._engines = {name: spec.start() for name, spec in models.items()}
        self._settings = settings
        self._host = host

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the application."""
        replica = serve.get_replica_context().replica_id.unique_id
        return create_app(self._engines, self._settings, self._host, replica)

    def check_health(self) -> None:
        """Check the engines; Ray Serve replaces a replica that fails this.

        Raises:
            Exception: What an engine failed with.
        """
        for engine in self._engines.values():
            if engine.failure is not None:
                raise engine.failure


def run_replicas(
    models: Mapping[str, EngineSpec],
    settings: ServeSettings,
    *,
    replicas: int,
    host: str,
    port: int,
    drain_seconds: int,
    on_ready: Callable[[], None],
) -> None:
    """Serve ``models`` from several processes until SIGTERM or Ctrl-C.

    They run on the cluster that the variable ``RAY_ADDRESS`` names, else on this machine. Each takes one GPU where
    there are GPUs and the models may use them, else an equal share of the CPU cores.

    Args:
        models: How each replica makes its engines, by the name that requests call them.
        settings: Keys and limits of each replica; its sessions are shared.
        replicas: Number of processes.
        host: Address to listen at.
        port: Port to listen at.
        drain_seconds: After so many seconds, requests that are still open are cut off.
        on_ready: Called once all replicas are warm.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a server reports to nobody
    ray.init(include_dashboard=False, logging_level=logging.WARNING)
    try:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port}, logging_config=_LOGGING)
        deployment = serve.deployment(serve.ingress()(Replica)).options(
            name=_NAME,
            num_replicas=replicas,
            max_ongoing_requests=settings.limits.open_requests + _SPARE_REQUESTS,
            graceful_shutdown_timeout_s=drain_seconds,
            ray_actor_options=_resources(models, replicas),
            request_router_config=RequestRouterConfig(request_router_class=_ROUTER),
        )
        serve.run(deployment.bind(models, settings, host), name=_NAME, route_prefix="/", logging_config=_LOGGING)
        on_ready()
        stop.wait()
        serve.delete(_NAME)  # waits for open requests
        serve.shutdown()
    finally:
        ray.shutdown()


def _resources(models: Mapping[str, EngineSpec], replicas: int) -> dict[str, Any]:
    """Return what Ray reserves for each replica; it shows a replica no other GPUs, and as many threads as cores."""
    cluster = ray.cluster_resources()
    if cluster.get("GPU", 0) and any(spec.device != "cpu" for spec in models.values()):
        return {"num_gpus": 1}
    share = min(os.cpu_count() or 1, cluster["CPU"] / replicas)
    return {"num_cpus": int(share) if share >= 1 else share}
