"""ONNX Runtime on its CPU provider: prediction alone, of a graph written by hand."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cases import Array, Case, scaled


class OnnxContestant:
    """A session of a network without batch norm."""

    def __init__(self, case: Case, parameters: list[Array]) -> None:
        function = "Relu" if case.activation == "relu" else "Sigmoid"
        nodes, x, last = [], "X", len(parameters) - 2
        for i in range(0, len(parameters), 2):
            nodes.append(helper.make_node("Gemm", [x, f"p{i}", f"p{i + 1}"], [f"z{i}"]))
            x = f"z{i}"
            if i < last:
                nodes.append(helper.make_node(function, [x], [f"a{i}"]))
                x = f"a{i}"
        nodes.append(helper.make_node("ArgMax", [x], ["classes"], axis=1, keepdims=0))
        graph = helper.make_graph(
            nodes,
            "mlp",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["m", case.widths[0]])],
            [helper.make_tensor_value_info("classes", TensorProto.INT64, ["m"])],
            [numpy_helper.from_array(p, f"p{i}") for i, p in enumerate(parameters)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )

    def predictor(self, X: Array) -> Callable[[], Array]:
        """A run of the session."""
        feed = {"X": scaled(X)}
        return lambda: self.session.run(["classes"], feed)[0]


def contestant(case: Case, parameters: list[Array], variant: str) -> OnnxContestant:
    return OnnxContestant(case, parameters)
