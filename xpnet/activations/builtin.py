"""The base class of the activations, and those with rules written by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from xpnet.backend import Array
from xpnet.errors import ArgumentError, require_number
from xpnet.ops import formulas  # its names load on first access
from xpnet.ops.formulas.class_rules import derive_rules, itself
from xpnet.ops.operations import Operations, Rule
from xpnet.ops.rules import activations as rules


@dataclass(frozen=True)
class ActivationFunction:
    """Base class of the activations, functions φ of ``z: (m, n)`` with their derivative.

    They are elementwise unless a method is overridden. A subclass is a frozen dataclass; its fields
    are the scalars of its rules. One that defines ``value`` alone is a formula, as of
    `xpnet.activations.from_formula`, from which the other rules follow. A subclass without fields
    inherits the dataclass methods, which saves a third of the time of the import.

    Attributes:
        value: the rule ``φ(xp, z, *scalars)``.
        derivative: the rule ``φ'(xp, saved, *scalars)``.
        saves: the argument ``saved`` of ``derivative``: the ``"output"`` ``a = φ(z)``, the
            ``"input"`` ``z``, or an ``"intermediate"`` ``u``, with which `kept` and `shifted` are
            overridden.
        curvature: for second derivatives, the derivative of ``derivative`` with respect to the
            output, or else to the input, as a function of ``saved``; ``None`` if it is 0 almost
            everywhere.

    Write rules as ``value = staticmethod(mish)``, since they take no ``self``. A class may also set
    ``is_identity``, and ``fuses_with_product`` if a matrix product may apply its rule; both hold
    for the class itself, not for its subclasses.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-2.0, 3.0]])
    >>> ops, phi = operations_for(z), LeakyReLU(0.1)
    >>> a = phi.forward(ops, z)
    >>> a, phi.backward(ops, a, np.ones((1, 2)))
    (array([[-0.2,  3. ]]), array([[0.1, 1. ]]))
    """

    value: ClassVar[Rule]
    derivative: ClassVar[Rule]
    saves: ClassVar[Literal["output", "input", "intermediate"]] = "output"
    curvature: ClassVar[Rule | None]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "value" in own and not {"derivative", "backward"} & own.keys():
            derive_rules(
                cls,
                "value",
                {
                    "value": itself,
                    "saves": lambda formula: formulas.simple_backward_of(formula).saves,
                    "derivative": lambda formula: formulas.simple_backward_of(formula).derivative,
                    "curvature": lambda formula: formulas.simple_backward_of(formula).curvature,
                },
            )

    def scalars(self) -> tuple[float, ...]:
        """Return the hyperparameters as floats, in the order in which the rules take them."""
        fields = vars(self)
        return tuple(map(float, fields.values())) if fields else ()

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """Compute ``a = φ(z)``.

        Args:
            ops: the operations of the backend of ``z``.
            z: the input, ``(m, n)``.
            out: an array like ``z`` into which the result may be written, possibly ``z`` itself.

        Returns:
            The output ``a``, which may be ``out`` or, for the identity, ``z``.
        """
        return ops.apply(self.value, z, scalars=self.scalars(), out=out)

    def kept(
        self, ops: Operations, z: Array, out: Array | None = None, scratch: Array | None = None
    ) -> tuple[Array, Array]:
        """Compute ``φ(z)`` and the array that `backward` needs.

        Args:
            ops: the operations of the backend of ``z``.
            z: the input, ``(m, n)``.
            out: an array like ``z`` into which the output may be written.
            scratch: an array like ``z`` into which an intermediate may be written, possibly ``z``
                itself.

        Returns:
            The array that `backward` needs, as `saves` says, and the output. They may be one array.
        """
        a = self.forward(ops, z, out)
        return (a if self.saves == "output" else z), a

    def shifted(
        self, ops: Operations, z: Array, bias: Array, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Compute ``φ(z + b)`` and the array that `backward` needs.

        Args:
            ops: the operations of the backend of ``z``.
            z: the input without the bias, ``(m, n)``, which may be overwritten.
            bias: ``b``, ``(n,)``.
            out: an array like ``z`` into which the output may be written if `backward` needs
                another array.

        Returns:
            The array that `backward` needs, as `saves` says, and the output. They may be one array.
        """
        if self.saves == "output":
            a = ops.shift_and_apply(self.value, z, bias, self.scalars())
            return a, a
        return ops.shift_and_keep(self.value, z, bias, self.scalars(), out)

    def backward(self, ops: Operations, saved: Array, dy: Array, out: Array | None = None) -> Array:
        """Compute ``∂L/∂z = dy ⊙ φ'``.

        Args:
            ops: the operations of the backend.
            saved: the array that `kept` or `shifted` returned, as `saves` says.
            dy: ``∂L/∂a``, ``(m, n)``.
            out: an array like ``dy`` into which the result may be written.

        Returns:
            ``∂L/∂z``, ``(m, n)``.
        """
        return ops.chain(self.derivative, dy, saved, scalars=self.scalars(), out=out)

    def backward_and_sum(
        self, ops: Operations, saved: Array, dy: Array, sums: Array, out: Array | None = None
    ) -> Array:
        """Compute `backward`, and write the sum of ``∂L/∂z`` over the rows to ``sums: (n,)``."""
        return ops.chain_and_sum(self.derivative, dy, saved, sums, self.scalars(), out)

    def jvp(self, ops: Operations, saved: Array, dz: Array, out: Array | None = None) -> Array:
        """Compute ``ȧ = φ' ⊙ ż``, which is `backward` because every Jacobian here is symmetric."""
        return self.backward(ops, saved, dz, out)

    def backward_jvp(
        self, ops: Operations, saved: Array, dsaved: Array | None, dy: Array, ddy: Array
    ) -> tuple[Array, Array]:
        """Compute `backward` and its jvp, ``φ' ⊙ ḋy + (∂φ'/∂s ⊙ ṡ) ⊙ dy``.

        Args:
            ops: the operations of the backend.
            saved: the array that `kept` or `shifted` returned, as `saves` says.
            dsaved: the tangent ``ṡ`` of the output if that is saved, else of the input; ``None``
                for 0.
            dy: ``∂L/∂a``, ``(m, n)``.
            ddy: the tangent of ``dy``.

        Returns:
            ``∂L/∂z`` and its tangent, ``(m, n)``.

        Raises:
            ArgumentError: if the activation has no rule ``curvature``.
        """
        if not hasattr(self, "curvature"):
            name = type(self).__name__
            raise ArgumentError(
                "activation must have a rule curvature for second derivatives, None if φ'' is 0; "
                f"got {name}()."
            )
        dz, ddz = self.backward(ops, saved, dy), self.backward(ops, saved, ddy)
        if self.curvature is None or dsaved is None:
            return dz, ddz
        return dz, ddz + ops.chain(self.curvature, dsaved * dy, saved, scalars=self.scalars())


class Identity(ActivationFunction):
    """``φ(z) = z``; ``φ' = 1``. The methods return their argument, not a copy.

    >>> Identity().forward(None, 3.0)
    3.0
    """

    value = staticmethod(rules.identity)
    derivative = staticmethod(rules.one)
    curvature = None
    fuses_with_product = is_identity = True

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """Return ``z`` itself."""
        return z

    def shifted(
        self, ops: Operations, z: Array, bias: Array, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Return ``z + b``, twice."""
        z = ops.shift(z, bias)
        return z, z

    def backward(self, ops: Operations, saved: Array, dy: Array, out: Array | None = None) -> Array:
        """Return ``dy`` itself."""
        return dy

    def backward_and_sum(
        self, ops: Operations, saved: Array, dy: Array, sums: Array, out: Array | None = None
    ) -> Array:
        """Return ``dy`` itself, and write its sum over the rows to ``sums``."""
        ops.column_sum(dy, out=sums)
        return dy


@dataclass(frozen=True)
class Affine(ActivationFunction):
    """``φ(z) = slope·z + intercept``; ``φ' = slope``.

    Args:
        slope: a finite number. Default 1.
        intercept: a finite number. Default 0.

    Raises:
        ArgumentError: if an argument is not a finite number.

    >>> Affine(slope="2")
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: slope must be a finite number; got '2'.
    """

    slope: float = 1.0
    intercept: float = 0.0

    value = staticmethod(rules.affine)
    derivative = staticmethod(rules.affine_derivative)
    curvature = None

    def __post_init__(self) -> None:
        require_number(self.slope, "slope")
        require_number(self.intercept, "intercept")


class Step(ActivationFunction):
    """``φ(z) = [z > 0]``, for networks of threshold units; it cannot be trained.

    Reference: W. McCulloch, W. Pitts, "A logical calculus of the ideas immanent in nervous
    activity", 1943.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-0.5, 0.0, 0.5]])
    >>> Step().forward(operations_for(z), z)
    array([[0., 0., 1.]])
    """

    value = staticmethod(rules.step)

    def backward(self, ops: Operations, saved: Array, dy: Array, out: Array | None = None) -> Array:
        """Raise an error, as does `jvp`: a derivative of 0 does not train a network.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(
            "activation must be differentiable to train; got Step(), with a derivative of 0 almost "
            "everywhere. Use Sigmoid() or ReLU(), or the perceptron's own rule."
        )

    def backward_and_sum(
        self, ops: Operations, saved: Array, dy: Array, sums: Array, out: Array | None = None
    ) -> Array:
        """Raise the error of `backward`."""
        return self.backward(ops, saved, dy, out)


class Sigmoid(ActivationFunction):
    """``φ(z) = 1/(1 + e^(-z))``; ``φ' = a(1 - a)``. It does not overflow.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1000.0, 0.0, 1000.0]])
    >>> Sigmoid().forward(operations_for(z), z)
    array([[0. , 0.5, 1. ]])
    """

    value = staticmethod(rules.sigmoid)
    derivative = staticmethod(rules.sigmoid_derivative)
    curvature = staticmethod(rules.sigmoid_curvature)


class Tanh(ActivationFunction):
    """``φ(z) = tanh z``; ``φ' = 1 - a²``.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> a = np.array([[0.0, 0.5]])
    >>> Tanh().backward(operations_for(a), a, np.ones((1, 2)))
    array([[1.  , 0.75]])
    """

    value = staticmethod(rules.tanh)
    derivative = staticmethod(rules.tanh_derivative)
    curvature = staticmethod(rules.tanh_curvature)


class ReLU(ActivationFunction):
    """``φ(z) = max(0, z)``; ``φ' = [z > 0]``, 0 at the kink.

    Reference: V. Nair, G. Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines",
    ICML 2010.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1.0, 2.0]])
    >>> ReLU().forward(operations_for(z), z)
    array([[0., 2.]])
    """

    value = staticmethod(rules.relu)
    derivative = staticmethod(rules.relu_derivative)
    curvature = None
    fuses_with_product = True


@dataclass(frozen=True)
class LeakyReLU(ActivationFunction):
    """``φ(z) = z`` where positive, else ``αz``; ``φ' = 1`` or ``α``, α at the kink.

    Args:
        alpha: the derivative for negative inputs, above 0, so that the sign of the output is that
            of the input. Default 0.01.

    Raises:
        ArgumentError: if ``alpha`` is not above 0.

    Reference: A. Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models",
    2013, equation 2.

    >>> LeakyReLU(0)
    Traceback (most recent call last):
    xpnet.errors.ArgumentError: alpha must be a finite number, above 0; got 0.
    """

    alpha: float = 0.01

    value = staticmethod(rules.leaky_relu)
    derivative = staticmethod(rules.leaky_relu_derivative)
    curvature = None

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", above=0)


@dataclass(frozen=True)
class ELU(ActivationFunction):
    """``φ(z) = z`` where positive, else ``α(eᶻ - 1)``; ``φ' = 1`` or ``αeᶻ = a + α``.

    Args:
        alpha: minus the limit for ``z → -∞``, above 0. Default 1.

    Raises:
        ArgumentError: if ``alpha`` is not above 0.

    Reference: D.-A. Clevert et al., "Fast and Accurate Deep Network Learning by Exponential
    Linear Units", ICLR 2016.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1000.0, 2.0]])
    >>> ELU(alpha=0.5).forward(operations_for(z), z)
    array([[-0.5,  2. ]])
    """

    alpha: float = 1.0

    value = staticmethod(rules.elu)
    derivative = staticmethod(rules.elu_derivative)
    curvature = staticmethod(rules.elu_curvature)

    def __post_init__(self) -> None:
        require_number(self.alpha, "alpha", above=0)


class SELU(ActivationFunction):
    """``φ(z) = λz`` where positive, else ``λα(eᶻ - 1)``; ``φ' = λ`` or ``a + λα``.

    With α = 1.6733, λ = 1.0507 and weights of `LecunNormal`, mean 0 and variance 1 are a fixed
    point.

    Reference: G. Klambauer et al., "Self-Normalizing Neural Networks", 2017, equation 2.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1000.0, 1.0]])
    >>> SELU().forward(operations_for(z), z).round(4)
    array([[-1.7581,  1.0507]])
    """

    value = staticmethod(rules.selu)
    derivative = staticmethod(rules.selu_derivative)
    curvature = staticmethod(rules.selu_curvature)


class Softplus(ActivationFunction):
    """``φ(z) = log(1 + eᶻ)``; ``φ' = σ(z) = 1 - e^(-a)``. It does not overflow.

    Reference: C. Dugas et al., "Incorporating Second-Order Functional Knowledge for Better Option
    Pricing", NIPS 2000.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[0.0, 1000.0]])
    >>> Softplus().forward(operations_for(z), z).round(4)
    array([[6.931e-01, 1.000e+03]])
    """

    value = staticmethod(rules.softplus)
    derivative = staticmethod(rules.softplus_derivative)
    curvature = staticmethod(rules.softplus_curvature)


class GELU(ActivationFunction):
    """``φ(z) = zΦ(z)`` with the normal distribution Φ; ``φ' = Φ(z) + z e^(-z²/2)/√(2π)``.

    Reference: D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1.0, 1.0]])
    >>> GELU().forward(operations_for(z), z).round(6)
    array([[-0.158655,  0.841345]])
    """

    value = staticmethod(rules.gelu)
    derivative = staticmethod(rules.gelu_derivative)
    curvature = staticmethod(rules.gelu_curvature)
    saves = "input"


class GELUTanh(ActivationFunction):
    """``φ(z) = ½z(1 + tanh(√(2/π)(z + 0.044715z³)))``, within 5e-4 of `GELU` and faster.

    Reference: D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016, section 2.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1.0, 1.0]])
    >>> GELUTanh().forward(operations_for(z), z).round(6)
    array([[-0.158808,  0.841192]])
    """

    value = staticmethod(rules.gelu_tanh)
    derivative = staticmethod(rules.gelu_tanh_derivative)
    curvature = staticmethod(rules.gelu_tanh_curvature)
    saves = "input"


class SiLU(ActivationFunction):
    """``φ(z) = zσ(z)``, also known as swish; ``φ' = s + z s(1 - s)`` with ``s = σ(z)``.

    Reference: S. Elfwing et al., "Sigmoid-Weighted Linear Units for Neural Network Function
    Approximation in Reinforcement Learning", 2017.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1.0, 1.0]])
    >>> SiLU().forward(operations_for(z), z).round(4)
    array([[-0.2689,  0.7311]])
    """

    value = staticmethod(rules.silu)
    derivative = staticmethod(rules.silu_derivative)
    curvature = staticmethod(rules.silu_curvature)
    saves = "input"


class HardSigmoid(ActivationFunction):
    """``φ(z) = min(max(0.2z + 0.5, 0), 1)``; ``φ' = 0.2`` if ``0 < φ(z) < 1``, else 0.

    The definition of Theano. In PyTorch's the derivative is 1/6.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-3.0, 1.0, 3.0]])
    >>> HardSigmoid().forward(operations_for(z), z)
    array([[0. , 0.7, 1. ]])
    """

    value = staticmethod(rules.hard_sigmoid)
    derivative = staticmethod(rules.hard_sigmoid_derivative)
    curvature = None


class Exponential(ActivationFunction):
    """``φ(z) = eᶻ``; ``φ' = a``. It overflows above 709, in float32 above 88.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[-1000.0, 0.0]])
    >>> Exponential().forward(operations_for(z), z)
    array([[0., 1.]])
    """

    value = staticmethod(rules.exponential)


class Softmax(ActivationFunction):
    """``φ(z)_k = e^(z_k - max z)/Σ_j e^(z_j - max z)`` along each row; ``∂φ/∂z = diag a - a aᵀ``.

    For classification use a linear last layer with `CrossEntropy`, which takes logits. This
    activation is for hidden layers and for squared losses of probabilities.

    >>> import numpy as np
    >>> from xpnet.ops import operations_for
    >>> z = np.array([[1000.0, 1000.0]])
    >>> Softmax().forward(operations_for(z), z)
    array([[0.5, 0.5]])
    """

    def forward(self, ops: Operations, z: Array, out: Array | None = None) -> Array:
        """Compute the softmax of each row."""
        return ops.softmax(z, out=out)

    def shifted(
        self, ops: Operations, z: Array, bias: Array, out: Array | None = None
    ) -> tuple[Array, Array]:
        """Compute the softmax of ``z + b``, and return it twice."""
        a = ops.softmax(ops.shift(z, bias), out=out)
        return a, a

    def backward(self, ops: Operations, saved: Array, dy: Array, out: Array | None = None) -> Array:
        """Compute ``a ⊙ (dy - Σ_k a_k dy_k)``."""
        return saved * (dy - ops.xp.sum(saved * dy, axis=1, keepdims=True))

    def backward_and_sum(
        self, ops: Operations, saved: Array, dy: Array, sums: Array, out: Array | None = None
    ) -> Array:
        """Compute `backward`, and write its sum over the rows to ``sums``."""
        dz = self.backward(ops, saved, dy, out)
        ops.column_sum(dz, out=sums)
        return dz

    def backward_jvp(
        self, ops: Operations, saved: Array, dsaved: Array | None, dy: Array, ddy: Array
    ) -> tuple[Array, Array]:
        """Compute ``a ⊙ (dy - Σ_k a_k dy_k)`` and its derivative along ``ȧ`` and ``ḋy``."""
        dz, ddz = self.backward(ops, saved, dy), self.backward(ops, saved, ddy)
        if dsaved is None:
            return dz, ddz
        inner = ops.xp.sum(saved * dy, axis=1, keepdims=True)
        d_inner = ops.xp.sum(dsaved * dy, axis=1, keepdims=True)
        return dz, ddz + dsaved * (dy - inner) - saved * d_inner
