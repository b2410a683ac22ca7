"""The encoders as OpenVINO's graphs, built from arrays: no network of torch is needed for them.

Of two families: BERT, and timm's EfficientNet-Lite. For others, `models.engines.conversion` makes
graphs of what torch computes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from models.engines.base import cell_weights
from models.network.config import ModelConfig, one_of
from models.network.encoders import encoder_folder
from models.network.own_tensors import BLOCKS

Arrays = Mapping[str, npt.NDArray[Any]]
Node = Any
"""Of OpenVINO."""

_STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Of the stages of an EfficientNet."""

_BATCH_NORM_EPS = 1e-3
"""TensorFlow's, with which these weights were trained."""


@dataclass(frozen=True)
class _Bert:
    """What of a text encoder's `config.json` decides what it computes; other fields do not."""

    model_type: Annotated[str, one_of("bert")]
    num_hidden_layers: Annotated[int, Field(ge=1)]
    num_attention_heads: Annotated[int, Field(ge=1)]
    layer_norm_eps: float = 1e-12
    hidden_act: Annotated[str, one_of("gelu")] = "gelu"
    position_embedding_type: Annotated[str, one_of("absolute")] = "absolute"
    is_decoder: Annotated[bool, one_of(False)] = False


def why_not(config: ModelConfig) -> str:
    """Why no graph can be built of these encoders; "" if they can.

    Raises:
        CheckpointError: the text encoder is not there.
    """
    image = config.image
    known = image.weights.endswith(".safetensors") or image.key_style == "lukemelas"
    if image.kind != "timm" or image.architecture not in BLOCKS or not known:
        return f"its pictures are read by {image.architecture or image.location} ({image.kind})"
    try:
        _bert(config)
    except (OSError, ValueError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return f"its words are read by {config.text.location}, which is no plain BERT ({told})"
    return ""


def _bert(config: ModelConfig) -> _Bert:
    document = json.loads((encoder_folder(config.text) / "config.json").read_bytes())
    return TypeAdapter(_Bert).validate_python(document)


def build(ov: Any, config: ModelConfig, tensors: Arrays) -> dict[str, Any]:
    """The graphs of both encoders, by "text" and "image", as `OpenVinoEngine` takes them.

    Args:
        ov: the module.
        config: of a model for which there is no `why_not`.
        tensors: float32, of the encoders, by a checkpoint's names.

    Raises:
        KeyError, RuntimeError: tensors are missing, or do not fit.
    """
    parts = {
        prefix: {
            name.removeprefix(prefix): np.ascontiguousarray(array, np.float32)
            for name, array in tensors.items()
            if name.startswith(prefix)
        }
        for prefix in ("text.", "image.")
    }
    text = _Text(ov.opset13, parts["text."], _bert(config)).outputs(config.text.pooling)
    image = _Image(ov.opset13, parts["image."], config).outputs()
    return {"text": ov.Model(*text, "text"), "image": ov.Model(*image, "image")}


class _Text:
    """BERT. Legend: `batch` texts, `tokens` of the longest of them, `dim` features."""

    def __init__(self, op: Any, tensors: Arrays, bert: _Bert) -> None:
        self._op = op
        self._tensors = tensors
        self._bert = bert

    def outputs(self, pooling: str) -> tuple[list[Node], list[Node]]:
        """Float32 [batch, dim] and [batch, tokens, dim], of int64 [batch, tokens], twice."""
        op, bert = self._op, self._bert
        ids = op.parameter([-1, -1], np.int64, name="token_ids")
        mask = op.parameter([-1, -1], np.int64, name="attention_mask")
        places = (
            self._tensors["embeddings.position_embeddings.weight"]
            + self._tensors["embeddings.token_type_embeddings.weight"][0]
        )
        length = op.gather(op.shape_of(ids), [1], 0)
        words = op.gather(self._constant("embeddings.word_embeddings.weight"), ids, 0)
        here = op.slice(_constant(op, places), [0], length, [1], [0])
        states = self._norm("embeddings.LayerNorm", op.add(words, here))
        # what may be looked at: bool [batch, 1, 1, tokens]
        seen = op.unsqueeze(op.convert(mask, "boolean"), [1, 2])
        for layer in range(bert.num_hidden_layers):
            states = self._layer(f"encoder.layer.{layer}", states, seen)
        if pooling == "first":
            pooled = op.squeeze(op.slice(states, [0], [1], [1], [1]), [1])
        else:
            weight = op.unsqueeze(op.convert(mask, "f32"), [2])
            total = op.reduce_sum(op.multiply(states, weight), [1])
            count = op.maximum(op.reduce_sum(weight, [1]), np.float32(1))
            pooled = op.divide(total, count)
        return [pooled, states], [ids, mask]

    def _layer(self, name: str, states: Node, seen: Node) -> Node:
        op = self._op
        queries, keys, values = (
            self._in_heads(self._linear(f"{name}.attention.self.{part}", states))
            for part in ("query", "key", "value")
        )
        attended = op.scaled_dot_product_attention(queries, keys, values, seen)
        joined = op.reshape(op.transpose(attended, [0, 2, 1, 3]), [0, 0, -1], special_zero=True)
        said = self._linear(f"{name}.attention.output.dense", joined)
        states = self._norm(f"{name}.attention.output.LayerNorm", op.add(said, states))
        inner = op.gelu(self._linear(f"{name}.intermediate.dense", states), "erf")
        said = self._linear(f"{name}.output.dense", inner)
        return self._norm(f"{name}.output.LayerNorm", op.add(said, states))

    def _in_heads(self, rows: Node) -> Node:
        """[batch, tokens, dim] to [batch, heads, tokens, dim of a head]."""
        shape = [0, 0, self._bert.num_attention_heads, -1]
        op = self._op
        return op.transpose(op.reshape(rows, shape, special_zero=True), [0, 2, 1, 3])

    def _linear(self, name: str, rows: Node) -> Node:
        op = self._op
        weighed = op.matmul(rows, self._constant(f"{name}.weight"), False, True)
        return op.add(weighed, self._constant(f"{name}.bias"))

    def _norm(self, name: str, rows: Node) -> Node:
        op = self._op
        normed = op.mvn(rows, [-1], True, self._bert.layer_norm_eps, "INSIDE_SQRT")
        scaled = op.multiply(normed, self._constant(f"{name}.weight"))
        return op.add(scaled, self._constant(f"{name}.bias"))

    def _constant(self, name: str) -> Node:
        return _constant(self._op, self._tensors[name])


class _Image:
    """EfficientNet-Lite: no squeeze and excite, and ReLU6. Batch norms are made part of the
    convolutions before them."""

    def __init__(self, op: Any, tensors: Arrays, config: ModelConfig) -> None:
        self._op = op
        self._tensors = tensors
        self._config = config

    def outputs(self) -> tuple[list[Node], list[Node]]:
        """Float32 [batch, 1, dim] and [batch, parts, dim], as `ImageModule` has them, of uint8
        [batch, height, width, 3]."""
        op, image, size = self._op, self._config.image, self._config.image_size
        pixels = op.parameter([-1, size, size, 3], np.uint8, name="pixels")
        x = op.transpose(op.convert(pixels, "f32"), [0, 3, 1, 2])
        x = op.subtract(x, np.array(image.mean, np.float32).reshape(1, 3, 1, 1))
        x = op.divide(x, np.array(image.std, np.float32).reshape(1, 3, 1, 1))
        x = self._active(self._convolved(x, "conv_stem", "bn1", stride=2))
        for stage, count in enumerate(BLOCKS[image.architecture]):
            for number in range(count):
                stride = 1 if number else _STRIDES[stage]
                x = self._block(x, f"blocks.{stage}.{number}", stride)
        maps = self._active(self._convolved(x, "conv_head", "bn2"))
        if image.lower:
            maps = op.concat([maps, x, op.abs(x)], 1)
        regions = op.transpose(op.reshape(maps, [0, 0, -1], special_zero=True), [0, 2, 1])
        mean = op.reduce_mean(regions, [1], keep_dims=True)
        count = regions.get_output_partial_shape(0)[1].get_length()
        weights = None if self._config.needs_regions else cell_weights(count)
        parts = (
            regions if weights is None else op.matmul(_constant(op, weights), regions, False, False)
        )
        return [mean, parts], [pixels]

    def _block(self, x: Node, name: str, stride: int) -> Node:
        if f"{name}.conv_pwl.weight" not in self._tensors:
            # without expansion, as the first
            inner = self._active(
                self._convolved(x, f"{name}.conv_dw", f"{name}.bn1", stride=stride)
            )
            found = self._convolved(inner, f"{name}.conv_pw", f"{name}.bn2")
        else:
            inner = self._active(self._convolved(x, f"{name}.conv_pw", f"{name}.bn1"))
            inner = self._active(
                self._convolved(inner, f"{name}.conv_dw", f"{name}.bn2", stride=stride)
            )
            found = self._convolved(inner, f"{name}.conv_pwl", f"{name}.bn3")
        alike = stride == 1 and found.get_output_partial_shape(0) == x.get_output_partial_shape(0)
        return self._op.add(found, x) if alike else found

    def _convolved(self, x: Node, name: str, norm: str, *, stride: int = 1) -> Node:
        op, tensors = self._op, self._tensors
        weight = tensors[f"{name}.weight"]
        scale = tensors[f"{norm}.weight"] / np.sqrt(
            tensors[f"{norm}.running_var"] + _BATCH_NORM_EPS
        )
        bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
        weight = np.asarray(weight * scale[:, None, None, None], np.float32)
        # as TensorFlow pads: what is odd, behind
        where: tuple[Any, ...] = ([stride, stride], [0, 0], [0, 0], [1, 1], "same_upper")
        if name.endswith("conv_dw"):
            convolved = op.group_convolution(x, _constant(op, weight[:, None]), *where)
        else:
            convolved = op.convolution(x, _constant(op, weight), *where)
        return op.add(convolved, _constant(op, bias.astype(np.float32).reshape(1, -1, 1, 1)))

    def _active(self, x: Node) -> Node:
        return self._op.clamp(x, 0.0, 6.0)


def _constant(op: Any, array: npt.NDArray[np.float32]) -> Node:
    return op.constant(array, shared_memory=True)
