"""The network computed by ONNX Runtime, from a file that ``adaptis.export`` wrote."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

try:
    import onnxruntime
    from onnxruntime import OrtValue
except ModuleNotFoundError as error:
    raise ImportError(f"{error}: pip install onnxruntime, or onnxruntime-gpu") from error

from adaptis.arguments import Device, DeviceError
from adaptis.compat import THREADS
from adaptis.description import TO_SEGMENT, check_description
from adaptis.inference.windows import placed, windows_around
from adaptis.json_types import FormatError, parse_json
from adaptis.preprocessing import Size
from adaptis.weights import ANOTHER_COPY, CheckpointError

# entries of the metadata: JSON, a model in base64, a number
DESCRIPTION, HEAD, STRIDE = "adaptis", "adaptis_head", "adaptis_stride"
PROVIDERS = {  # by the kind of device: ONNX Runtime's name, and the package that has it
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu, with CUDA and cuDNN"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml on Windows"),
}
MEMORY = {"cuda": "cuda", "directml": "dml"}  # where arrays stay between runs; the others': "cpu"
# of the last entry of the metadata, as protobuf writes it: field 14, 74 bytes, of which field 1 is
# the key and field 2 the value, a sha256 in hexadecimal digits
_SHA256_ENTRY = b"\x72\x4a\x0a\x06sha256\x12\x40"
_SHA256_ENTRY_SIZE = len(_SHA256_ENTRY) + 64


@dataclass(frozen=True)
class EncodedImage:
    """What is known of an image once the image model ran."""

    code_map: OrtValue  # on the device, as the next
    selection_input: OrtValue
    class_probabilities: OrtValue  # (classes, H, W) float32
    proposal_logits: OrtValue  # (H, W) float32
    size: Size

    @cached_property
    def selection_array(self) -> np.ndarray:
        """selection_input in the CPU's memory, for windows of it."""
        return self.selection_input.numpy()


class ONNXBackend:
    """See :class:`adaptis.inference.backend.Backend`.

    Parameters:
        model: the content of a file of ``adaptis.export``, see there.
        device: where it runs; operators that its provider lacks run on the CPU.

    Attributes:
        description: of the weights: network, classes, mean, std and inference settings.

    Raises DeviceError where ONNX Runtime can't compute on the device.
    """

    def __init__(self, model: bytes, device: Device):
        self.device = device
        self._memory = MEMORY.get(device.kind, "cpu")
        # what runs once an image gives its memory back; what runs for each point keeps it
        self._image_model = _session(model, device, keeps_memory=False)
        metadata = self._image_model.get_modelmeta().custom_metadata_map
        self.description: dict = parse_json(metadata[DESCRIPTION])
        check_description(self.description)
        self._stride = int(metadata[STRIDE])
        self._head = _session(base64.b64decode(metadata[HEAD]), device, keeps_memory=True)

    @classmethod
    def load(cls, weights: Path | str, device: Device) -> tuple[ONNXBackend, dict, str]:
        """The network of a file that ``adaptis.export`` wrote, its description and its sha256.

        Raises CheckpointError when the file is damaged or another kind's, DeviceError where ONNX
        Runtime can't compute on the device.
        """
        try:
            content = Path(weights).read_bytes()
        except OSError as error:
            raise CheckpointError(f"{weights}: can't be read: {error.strerror}") from error
        before, entry = content[:-_SHA256_ENTRY_SIZE], content[-_SHA256_ENTRY_SIZE:]
        if not entry.startswith(_SHA256_ENTRY):
            raise CheckpointError(
                f"{weights}: is cut, or no file of python -m adaptis.export; {ANOTHER_COPY}"
            )
        if entry != sha256_entry(before):
            raise CheckpointError(f"{weights}: is damaged (its sha256 differs); {ANOTHER_COPY}")
        try:
            backend = cls(content, device)
            if missing := [key for key in TO_SEGMENT if key not in backend.description]:
                raise FormatError(f"it has no {', '.join(missing)}")
        except DeviceError:
            raise
        except KeyError as error:
            raise CheckpointError(
                f"{weights}: has no {error} in its metadata; export the weights again with this "
                "version of the project"
            ) from error
        except ValueError as error:  # of another version, perhaps
            raise CheckpointError(f"{weights}: its description can't be used: {error}") from error
        return backend, backend.description, hashlib.sha256(content).hexdigest()

    def encode(self, image: np.ndarray) -> EncodedImage:
        binding = self._image_model.io_binding()
        binding.bind_cpu_input("image", image[None])
        for name in ("code_map", "selection_input"):
            binding.bind_output(name, self._memory, self.device.number)
        for name in ("class_probabilities", "proposal_logits"):
            binding.bind_output(name)  # to the CPU
        self._image_model.run_with_iobinding(binding)
        code_map, selection_input, probabilities, logits = binding.get_outputs()
        return EncodedImage(code_map, selection_input, probabilities, logits, image.shape[1:])

    def confidences(
        self, encoded: EncodedImage, points_yx: np.ndarray, window: int | None = None
    ) -> np.ndarray:
        if window is None or window >= max(encoded.size):
            binding = self._head.io_binding()
            binding.bind_ortvalue_input("selection_input", encoded.selection_input)
            return self._run_head(binding, encoded, points_yx, [(0, 0)], encoded.size)
        size, corners_yx = windows_around(points_yx, window, encoded.size, self._stride)
        height, width = (length // self._stride for length in size)
        windows = [
            encoded.selection_array[:, :, row : row + height, col : col + width]
            for row, col in ((row // self._stride, col // self._stride) for row, col in corners_yx)
        ]
        binding = self._head.io_binding()
        binding.bind_cpu_input("selection_input", np.concatenate(windows))
        parts = self._run_head(binding, encoded, points_yx, corners_yx, size)
        return placed(parts, corners_yx, encoded.size)

    def _run_head(
        self, binding, encoded: EncodedImage, points_yx: np.ndarray, corners_yx: list, size
    ) -> np.ndarray:
        """The confidences (N, *size) of the points, given what ``binding`` holds already."""
        binding.bind_ortvalue_input("code_map", encoded.code_map)
        binding.bind_cpu_input("points_yx", np.ascontiguousarray(points_yx, np.float32))
        binding.bind_cpu_input("corners_yx", np.array(corners_yx, np.float32))
        binding.bind_cpu_input("size", np.array(size, np.int64))
        binding.bind_output("confidences")
        self._head.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    def class_probabilities(self, encoded: EncodedImage) -> np.ndarray:
        return encoded.class_probabilities.numpy()

    def proposal_logits(self, encoded: EncodedImage) -> np.ndarray:
        return encoded.proposal_logits.numpy()


def sha256_entry(content: bytes) -> bytes:
    """What ends a file: an entry of the model's metadata with the sha256 of all before it."""
    return _SHA256_ENTRY + hashlib.sha256(content).hexdigest().encode()


def _session(model: bytes, device: Device, keeps_memory: bool) -> onnxruntime.InferenceSession:
    provider, package = PROVIDERS[device.kind]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            f"ctx {device}: this ONNX Runtime has no {provider}; install {package}, or use cpu"
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keeps_memory
    threads = os.environ.get(THREADS, "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0  # as MXNet's; 0: all
    if device.kind == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN of NVIDIA's wheels, where they are installed
    by_index = {"device_id": device.number} if device.kind in MEMORY else {}
    try:
        session = onnxruntime.InferenceSession(model, options, providers=[(provider, by_index)])
    except Exception as error:  # ONNX Runtime's have no other base
        reason = f"ONNX Runtime {onnxruntime.__version__} can't run it: {error}"
        if device.kind == "cpu":
            raise FormatError(reason) from error
        raise DeviceError(f"ctx {device}: {reason}") from error
    if session.get_providers()[0] != provider:  # it goes on without, and only warns
        raise DeviceError(
            f"ctx {device}: ONNX Runtime can't use this device (install {package}); or use cpu"
        )
    return session
