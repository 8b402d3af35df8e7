# SPDX-License-Identifier: Apache-2.0
"""Language models to be timed: built from a configuration alone, on the device itself.

Answers: which torch model is a name, and does it fit here. Weights are random unless the
checkpoint's own are asked for: time does not depend on their values as long as those are
ordinary (no NaN, no denormals), so they come from the model's own initialisation. Layers
are spread over several devices by accelerate, one after the other (``pp``), and never
over host memory or disk: that would measure another thing than was asked for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specs.errors import InvalidInputError, ModelConfigError, RooflineError
from specs.hub import get_config, get_model

if TYPE_CHECKING:
    from specs.model import Model

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Weight and activation formats that transformers models run in without quantisation."""

SEED = 0
FREE_FRAC = 0.9
"""Share of the free memory that weights may take; the rest is for cache and activations."""


class ModelBuildError(ModelConfigError):
    """The configuration is known, and no model can be built from it here."""


class OutOfMemoryError(RooflineError):
    """Weights, cache or activations do not fit in what is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModel:
    """One torch model, ready to run.

    Parameters
    ----------
    name, dtype : str
        As asked; `dtype` is a key of `DTYPES`.
    module : torch.nn.Module
    devices : tuple of str
        All that hold a part, that of the embedding first.
    n_params, weight_bytes : int
        Tied weights once.
    vocab_size : int
    max_position : int
        Positions that the configuration allows; 0 if it states none.
    weights : str
        ``"random"`` or ``"checkpoint"``.
    notes : tuple of str
        What a reader of the numbers should know.
    """

    name: str
    dtype: str
    module: Any
    devices: tuple[str, ...]
    n_params: int
    weight_bytes: int
    vocab_size: int
    max_position: int
    weights: str
    notes: tuple[str, ...] = ()


def require(*packages: str, extra: str = "profile") -> None:
    """Check that packages are installed, without importing them.

    Raises
    ------
    InvalidInputError
        One is missing; the message says how to install it.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        build = " (with the torch build for your device)" if "torch" in missing else ""
        raise InvalidInputError(
            f"measuring this needs {' and '.join(missing)}, not installed here; run: "
            f"pip install 'roofline[{extra}]'{build}."
        )


def build_model(
    name: str,
    *,
    dtype: str,
    devices: Sequence[str],
    weights: bool = False,
) -> BuiltModel:
    """Build the model `name` in `dtype` on `devices`.

    Parameters
    ----------
    name : str
        As for `specs.hub.get_config`: a shipped name, a repository, a local folder.
    dtype : str
        A key of `DTYPES`.
    devices : sequence of str
        torch names such as ``"cpu"`` or ``"cuda:0"``; several share the layers.
    weights : bool
        Load the checkpoint's own weights, over the network if they are not cached.

    Raises
    ------
    InvalidInputError
        No torch or transformers, or an unknown dtype.
    ModelBuildError
        transformers cannot build it as a causal language model.
    OutOfMemoryError
        The weights alone do not fit.
    """
    require("torch", "transformers", *(["accelerate"] if len(devices) > 1 else []))
    import torch

    if dtype not in DTYPES:
        raise InvalidInputError(f"no dtype {dtype!r} to run in; give one of {', '.join(DTYPES)}.")
    described = describe(name)
    torch_dtype = getattr(torch, DTYPES[dtype])
    _check_memory(described, devices, torch_dtype.itemsize)
    torch.manual_seed(SEED)
    torch.set_float32_matmul_precision("highest")  # torch's default; a kernel sweep changes it
    with quiet_libraries():
        try:
            if weights:
                module = _loaded(described.name, torch_dtype, devices)
            else:
                module = _random(transformers_config(name), torch_dtype, devices)
        except RooflineError:
            raise
        except Exception as error:
            if (reason := memory_reason(error)) is not None:
                raise OutOfMemoryError(f"{name} in {dtype} does not fit: {reason}.") from error
            if weights and isinstance(error, OSError):  # of the network, the Hub or the disk
                raise _no_weights(name, error) from error
            raise _no_build(name, error) from error
    return _built(dtype, module.eval(), devices, weights=weights, described=described)


def describe(name: str) -> Model:
    """Return what `specs` knows of the model, checked to be a decoder.

    Raises
    ------
    ModelBuildError
        An encoder, or an encoder-decoder.
    RooflineError
        As `specs.hub.get_model`.
    """
    described = get_model(name)
    if not described.blocks or described.lm_head is None or described.encoder:
        raise ModelBuildError(
            f"{name} ({described.model_type}) is no decoder-only language model, which is what "
            f"can be profiled; give one such as gpt2."
        )
    return described


def transformers_config(name: str) -> Any:
    """Return the configuration object of the model's text part, without quantisation."""
    from transformers import AutoConfig

    fields, _ = get_config(name)
    left_out = {"model_type", "auto_map", "quantization_config", "dtype", "torch_dtype"}
    kept = {key: value for key, value in fields.items() if key not in left_out}
    try:
        config = AutoConfig.for_model(fields["model_type"], **kept)
    except Exception as error:
        raise _no_build(name, error) from error
    return config.get_text_config(decoder=True)


def _random(config: Any, dtype: Any, devices: Sequence[str]) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    if len(devices) == 1:
        with torch.device(devices[0]):
            return AutoModelForCausalLM.from_config(config, dtype=dtype)
    with torch.device("meta"):
        module = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return _spread(module, devices)


def _spread(module: Any, devices: Sequence[str]) -> Any:
    """Give every layer of a model without storage a device, memory and random weights."""
    import torch
    from accelerate import dispatch_model

    device_map = layer_map(module, devices)
    for path, device in device_map.items():
        module.get_submodule(path).to_empty(device=device)
    for path, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.device.type == "meta":  # stands outside every mapped module
            owner, _, leaf = path.rpartition(".")
            empty = torch.empty_like(tensor, device=devices[0])
            if isinstance(tensor, torch.nn.Parameter):
                empty = torch.nn.Parameter(empty, requires_grad=False)
            setattr(module.get_submodule(owner), leaf, empty)
    module.tie_weights()
    # Also fills buffers such as rotary frequencies, which to_empty leaves as garbage.
    module.initialize_weights()
    return dispatch_model(module, device_map=device_map, force_hooks=True)


def layer_map(module: Any, devices: Sequence[str]) -> dict[str, str]:
    """Return the device of every part of `module`, layers shared out evenly.

    Raises
    ------
    OutOfMemoryError
        A part would land on the host or on disk.
    """
    from accelerate import infer_auto_device_map

    total = sum(p.numel() * p.element_size() for p in module.parameters())
    largest = max(
        sum(p.numel() * p.element_size() for p in part.parameters())
        for part in module.modules()
        if type(part).__name__ in (module._no_split_modules or ()) or part is module.lm_head
    )
    budget: dict[int | str, int] = {
        index: min(total // len(devices) + largest, int(FREE_FRAC * free_bytes(device)))
        for index, device in enumerate(devices)
    }
    placed = infer_auto_device_map(
        module,
        max_memory={**budget, "cpu": 0},
        no_split_module_classes=list(module._no_split_modules or ()),
    )
    outside = [path for path, where in placed.items() if not isinstance(where, int)]
    if outside:
        raise OutOfMemoryError(
            f"{total / 1e9:.1f} GB of weights do not fit on {len(devices)} devices "
            f"({outside[0]} is left over); use more devices or a smaller dtype."
        )
    return {path: devices[where] for path, where in placed.items()}


def _loaded(name: str, dtype: Any, devices: Sequence[str]) -> Any:
    from transformers import AutoModelForCausalLM

    if len(devices) == 1:
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, device_map=devices[0])
    import torch

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(transformers_config(name), dtype=dtype)
    return AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, device_map=layer_map(empty, devices)
    )


def _built(
    dtype: str, module: Any, devices: Sequence[str], *, weights: bool, described: Model
) -> BuiltModel:
    parameters = list(module.parameters())
    n_params = sum(p.numel() for p in parameters)
    config = module.config.get_text_config(decoder=True)
    notes = []
    if abs(n_params / described.params - 1) > 0.01:
        notes.append(f"built with {n_params} parameters, the catalogue has {described.params}")
    if described.quantisation is not None:
        notes.append(f"the checkpoint is quantised; profiled as plain {dtype}")
    holding = {str(p.device) for p in parameters}
    return BuiltModel(
        name=described.name,
        dtype=dtype,
        module=module,
        devices=tuple(device for device in devices if len(devices) == 1 or device in holding),
        n_params=n_params,
        weight_bytes=sum(p.numel() * p.element_size() for p in parameters),
        vocab_size=int(config.vocab_size),
        max_position=int(getattr(config, "max_position_embeddings", 0) or 0),
        weights="checkpoint" if weights else "random",
        notes=tuple(notes),
    )


def _check_memory(described: Model, devices: Sequence[str], element_bytes: int) -> None:
    """Refuse what cannot fit before the system kills the process for it."""
    needed = described.params * element_bytes
    free = sum(free_bytes(device) for device in devices)
    if needed > FREE_FRAC * free:
        raise OutOfMemoryError(
            f"{described.name} needs {needed / 1e9:.1f} GB for its weights and "
            f"{free / 1e9:.1f} GB are free on {', '.join(devices)}; use a smaller dtype or model, "
            f"or more devices."
        )


def free_bytes(device: str) -> int:
    """Memory that `device` has free now; of the machine for ``"cpu"``."""
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if kind == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    return free_host_bytes()


def free_host_bytes(*, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that new processes can have without swapping, container limit included."""
    free = 2**62
    with contextlib.suppress(OSError, IndexError, ValueError):
        text = (proc / "meminfo").read_text()
        free = int(text.partition("MemAvailable:")[2].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        limit = int((groups / "memory.max").read_text())
        free = min(free, limit - int((groups / "memory.current").read_text()))
    return free


def memory_reason(error: BaseException) -> str | None:
    """Return why memory ran out, if that is what `error` says, else None."""
    if isinstance(error, MemoryError):
        return "host memory"
    if type(error).__name__ == "OutOfMemoryError":  # torch's, of every kind of device
        return "device memory"
    text = str(error)
    signs = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    if isinstance(error, RuntimeError) and any(sign in text for sign in signs):
        return "host memory" if "DefaultCPUAllocator" in text else "device memory"
    return None


@contextlib.contextmanager
def quiet_libraries() -> Iterator[list[str]]:
    """Collect the libraries' warnings in a list instead of on the terminal.

    They matter: "falling back to the reference implementation" is another measurement.
    """
    from transformers.utils import logging as library

    library.get_logger("transformers")  # sets the library's own handler up
    library.disable_progress_bar()
    collector = _Collector()
    names = ("transformers", "accelerate", "huggingface_hub")
    loggers = [logging.getLogger(name) for name in names]
    kept = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [collector], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield collector.messages
    finally:
        for logger, handlers, propagate in kept:
            logger.handlers, logger.propagate = handlers, propagate


class _Collector(logging.Handler):
    """Keeps each message once, shortened to one line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())[:160]
        if text not in self.messages:
            self.messages.append(text)


def _no_weights(name: str, error: OSError) -> ModelBuildError:
    says = " ".join(str(error).split())[:120] or type(error).__name__
    return ModelBuildError(
        f"the weights of {name} cannot be fetched ({says}); check the network and HF_TOKEN, or "
        f"leave out --weights."
    )


def _no_build(name: str, error: Exception) -> ModelBuildError:
    import transformers

    says = " ".join(str(error).split())[:160] or type(error).__name__
    return ModelBuildError(
        f"transformers {transformers.__version__} cannot build {name} as a causal language model "
        f"({says}); choose another model or another transformers version."
    )
