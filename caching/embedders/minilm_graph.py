"""The MiniLM-L6 sentence encoder as an ONNX graph, built by hand from its weights.

Invariant: the graph computes what the published model computes (BERT, 6 layers, mean pooling over the attention mask,
L2 norm). Pooling and norm are inside the graph: it returns unit vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS, HEADS, HIDDEN = 6, 12, 384
HEAD_SIZE = HIDDEN // HEADS
OPSET = 20  # the first with Gelu
EPSILON = 1e-12

Weights = Mapping[str, NDArray[np.float32]]


def build_graph(weights: Weights) -> onnx.ModelProto:
    """Inputs `ids`, `mask` (int64, batch x length); output `vectors` (float32, batch x 384, unit rows)."""
    graph = _Graph(weights)
    hidden = graph.embeddings()
    bias = graph.attention_bias()
    for layer in range(LAYERS):
        hidden = graph.layer(hidden, bias, prefix=f"encoder.layer.{layer}.")
    return graph.finish(hidden)


class _Graph:
    """Collects nodes and initializers; every method returns the name of the tensor it made."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def embeddings(self) -> str:
        prefix = "embeddings."
        words = self._constant("words", self._weights[prefix + "word_embeddings.weight"])
        # Every token is of type 0, so that row is folded into the position table.
        table = (
            self._weights[prefix + "position_embeddings.weight"]
            + self._weights[prefix + "token_type_embeddings.weight"][0]
        )
        positions = self._constant("positions", table)
        length = self._op("Shape", "ids", start=1, end=2)
        rows = self._op("Slice", positions, self._integers("zero", [0]), length, self._integers("axis0", [0]))
        total = self._op("Add", self._op("Gather", words, "ids"), rows)
        return self._layer_norm(total, prefix + "LayerNorm")

    def attention_bias(self) -> str:
        """0 where a token is, a large negative number where padding is: batch x 1 x 1 x length."""
        present = self._op("Cast", "mask", to=TensorProto.FLOAT)
        absent = self._op("Sub", self._constant("one", np.float32(1)), present)
        scaled = self._op("Mul", absent, self._constant("masked", np.float32(-10_000)))
        return self._op("Unsqueeze", scaled, self._integers("axes12", [1, 2]))

    def layer(self, hidden: str, bias: str, *, prefix: str) -> str:
        attended = self._dense(self._attention(hidden, bias, prefix), prefix + "attention.output.dense")
        hidden = self._layer_norm(self._op("Add", attended, hidden), prefix + "attention.output.LayerNorm")
        widened = self._op("Gelu", self._dense(hidden, prefix + "intermediate.dense"))
        narrowed = self._dense(widened, prefix + "output.dense")
        return self._layer_norm(self._op("Add", narrowed, hidden), prefix + "output.LayerNorm")

    def finish(self, hidden: str) -> onnx.ModelProto:
        present = self._op(
            "Unsqueeze", self._op("Cast", "mask", to=TensorProto.FLOAT), self._integers("axis2", [2])
        )
        # The sum over tokens serves as their mean: the norm that follows cancels the division.
        pooled = self._op(
            "ReduceSum", self._op("Mul", hidden, present), self._integers("axis1", [1]), keepdims=0
        )
        norm = self._op("ReduceL2", pooled, self._integers("axis1", [1]), keepdims=1)
        self._nodes.append(helper.make_node("Div", [pooled, norm], ["vectors"]))
        integers, floats = TensorProto.INT64, TensorProto.FLOAT
        model = helper.make_model(
            helper.make_graph(
                self._nodes,
                "minilm-l6-v2",
                [
                    helper.make_tensor_value_info(name, integers, ["batch", "length"])
                    for name in ("ids", "mask")
                ],
                [helper.make_tensor_value_info("vectors", floats, ["batch", HIDDEN])],
                list(self._constants.values()),
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=10,
        )
        onnx.checker.check_model(model)
        return model

    def _attention(self, hidden: str, bias: str, prefix: str) -> str:
        names = [f"{prefix}attention.self.{part}" for part in ("query", "key", "value")]
        # One matrix product for the three projections; the scale of the scores is folded into the query.
        scales = (np.float32(HEAD_SIZE**-0.5), np.float32(1), np.float32(1))
        kernel = [
            self._weights[f"{name}.weight"].T * scale for name, scale in zip(names, scales, strict=True)
        ]
        offset = [self._weights[f"{name}.bias"] * scale for name, scale in zip(names, scales, strict=True)]
        projected = self._affine(hidden, np.concatenate(kernel, 1), np.concatenate(offset), f"{prefix}qkv")
        parts = [self._heads(part) for part in self._split(projected, 3)]
        scores = self._op("MatMul", parts[0], self._op("Transpose", parts[1], perm=[0, 1, 3, 2]))
        weights = self._op("Softmax", self._op("Add", scores, bias), axis=-1)
        mixed = self._op("Transpose", self._op("MatMul", weights, parts[2]), perm=[0, 2, 1, 3])
        return self._op("Reshape", mixed, self._integers("merged", [0, 0, HIDDEN]))

    def _heads(self, name: str) -> str:
        split = self._op("Reshape", name, self._integers("split", [0, 0, HEADS, HEAD_SIZE]))
        return self._op("Transpose", split, perm=[0, 2, 1, 3])

    def _dense(self, name: str, layer: str) -> str:
        return self._affine(name, self._weights[f"{layer}.weight"].T, self._weights[f"{layer}.bias"], layer)

    def _affine(self, name: str, kernel: NDArray[Any], offset: NDArray[Any], layer: str) -> str:
        product = self._op("MatMul", name, self._constant(f"{layer}.kernel", kernel))
        return self._op("Add", product, self._constant(f"{layer}.offset", offset))

    def _layer_norm(self, name: str, layer: str) -> str:
        scale = self._constant(f"{layer}.weight", self._weights[f"{layer}.weight"])
        offset = self._constant(f"{layer}.bias", self._weights[f"{layer}.bias"])
        return self._op("LayerNormalization", name, scale, offset, axis=-1, epsilon=EPSILON)

    def _split(self, name: str, count: int) -> list[str]:
        outputs = [f"t{len(self._nodes)}_{part}" for part in range(count)]
        self._nodes.append(helper.make_node("Split", [name], outputs, axis=-1, num_outputs=count))
        return outputs

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"t{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes)
        )
        return output

    def _integers(self, name: str, values: list[int]) -> str:
        return self._constant(name, np.array(values, np.int64))

    def _constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        if name not in self._constants:
            array = np.ascontiguousarray(value).reshape(np.shape(value))
            self._constants[name] = numpy_helper.from_array(array, name)
        return name
