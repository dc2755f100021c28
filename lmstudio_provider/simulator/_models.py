"""LM Studio's own endpoints for models: list, load, unload, download."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any, Mapping
from urllib.parse import urlsplit

from ._checks import check_keys
from ._decisions import sees
from ._errors import invalid, native_error
from ._server import Answer, RefusedError, indented
from ._state import SIZE_BYTES, Instance, Job, State, embeds, kind_of, not_found

_MAX_CONTEXT = 131072
_QUANTIZATION = "Q4_K_M"
# The values of ``reasoning`` that the models of the stand-in allow (LM Studio docs: developer/rest/chat).
REASONING = ("off", "low", "medium", "high", "on")
_LOAD: Mapping[str, tuple[type, ...]] = {
    "model": (str,),
    "context_length": (int,),
    "eval_batch_size": (int,),
    "flash_attention": (bool,),
    "num_experts": (int,),
    "offload_kv_cache_to_gpu": (bool,),
    "echo_load_config": (bool,),
}


class Models:
    """The endpoints, each a method."""

    def __init__(self, state: State) -> None:
        self._state = state

    def list_v0(self, body: Any) -> Answer:
        """``GET /api/v0/models``."""
        instances = self._state.instances
        return indented({"object": "list", "data": [_item_v0(model, instances) for model in list(self._state.models)]})

    def list_v1(self, body: Any) -> Answer:
        """``GET /api/v1/models``."""
        instances = self._state.instances
        return indented({"models": [_item_v1(model, instances) for model in list(self._state.models)]})

    def load(self, body: Any) -> Answer:
        """``POST /api/v1/models/load``."""
        config = check_keys(body, _LOAD, required=["model"])
        model, echo = config.pop("model"), config.pop("echo_load_config", False)
        began = time.monotonic()
        instance = self._state.load(model, **config)
        reply: dict[str, Any] = {
            "type": _type(instance.model),
            "instance_id": instance.id,
            "load_time_seconds": round(time.monotonic() - began, 3),
            "status": "loaded",
        }
        if echo:
            reply["load_config"] = {name: each for name, each in instance.config.items() if name != "parallel"}
        return indented(reply)

    def unload(self, body: Any) -> Answer:
        """``POST /api/v1/models/unload``."""
        id_ = check_keys(body, {"instance_id": (str,)}, required=["instance_id"])["instance_id"]
        self._state.unload(id_)
        return indented({"instance_id": id_})

    def download(self, body: Any) -> Answer:
        """``POST /api/v1/models/download``."""
        wanted = check_keys(body, {"model": (str,), "quantization": (str,)}, required=["model"])
        model = wanted["model"]
        if "://" in model:
            model = urlsplit(model).path.strip("/")
        elif "quantization" in wanted:
            raise invalid("'quantization' is only for the URL of a repository", "invalid_value", "quantization")
        if not model or model.startswith("no-such"):
            raise not_found(model, self._state.models)
        if model in self._state.models:
            return indented({"status": "already_downloaded"})
        job = _shown(self._state.start_download(model))
        return indented({name: job[name] for name in ("job_id", "status", "total_size_bytes", "started_at")})

    def download_status(self, job_id: str) -> Answer:
        """``GET /api/v1/models/download/status/{job_id}``; each request advances the download by a quarter."""
        job = self._state.jobs.get(job_id)
        if job is None:
            raise RefusedError(native_error(404, "job_not_found", f'There is no download job "{job_id}".'))
        self._state.advance(job)
        return indented(_shown(job))


def _item_v0(model: str, instances: list[Instance]) -> dict[str, Any]:
    loaded = [each for each in instances if each.model == model]
    item: dict[str, Any] = {
        "id": model,
        "object": "model",
        "type": "embeddings" if embeds(model) else "vlm" if "-vl" in model else kind_of(model),
        "publisher": _publisher(model),
        "arch": "simulated",
        "compatibility_type": "gguf",
        "quantization": _QUANTIZATION,
        "state": "loaded" if loaded else "not-loaded",
        "max_context_length": _MAX_CONTEXT,
    }
    if loaded:
        item["loaded_context_length"] = loaded[0].context_length
    return item if embeds(model) else {**item, "capabilities": ["tool_use"]}


def _item_v1(model: str, instances: list[Instance]) -> dict[str, Any]:
    item: dict[str, Any] = {
        "type": _type(model),
        "publisher": _publisher(model),
        "key": model,
        "display_name": model.rpartition("/")[2],
        "architecture": "simulated",
        "quantization": {"name": _QUANTIZATION, "bits_per_weight": 4},
        "size_bytes": SIZE_BYTES,
        "params_string": None,
        "loaded_instances": [{"id": each.id, "config": each.config} for each in instances if each.model == model],
        "max_context_length": _MAX_CONTEXT,
        "format": "gguf",
    }
    if embeds(model):  # LM Studio leaves these fields out for embedding models
        del item["architecture"]
        return item
    reasoning = {"allowed_options": list(REASONING), "default": "off"}
    item["capabilities"] = {"vision": _sees(model), "trained_for_tool_use": True, "reasoning": reasoning}
    return {**item, "description": None}


def _type(model: str) -> str:
    return kind_of(model)


def _publisher(model: str) -> str:
    return model.partition("/")[0] if "/" in model else "simulated"


def _sees(model: str) -> bool:
    return "-vl" in model or sees(model)


def _shown(job: Job) -> Mapping[str, Any]:
    shown: dict[str, Any] = {"job_id": job.id, "status": job.status}
    if job.status == "downloading":
        per_second = -(-job.total_size_bytes // 4)  # as if a client asked about once a second
        left_s = (job.total_size_bytes - job.downloaded_bytes) / per_second
        end = datetime.now(timezone.utc) + timedelta(seconds=left_s)
        shown.update(bytes_per_second=per_second, estimated_completion=_date(end))
    if job.status == "completed" and job.completed_at is not None:
        shown["completed_at"] = _date(job.completed_at)
    shown.update(total_size_bytes=job.total_size_bytes, downloaded_bytes=job.downloaded_bytes)
    return {**shown, "started_at": _date(job.started_at)}


def _date(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
