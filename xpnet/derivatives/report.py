"""The result of a gradient check, one entry per parameter."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.errors import ArgumentError

REUSED = "on reused buffers"
"""The end of the name of a call that reuses buffers, as training does."""

OWN_BUFFERS = (
    "A layer must not overwrite what it saved for the backward pass, and must give each layer "
    "inside it a context of its own, ctx.child(i)."
)
"""The advice for a gradient that is wrong on reused buffers alone."""


@dataclass(frozen=True)
class ParameterCheck:
    """The check of one parameter's gradient: the number of entries, and the worst of them.

    The worst entry is the wrong one with the largest error, or if none is wrong, the one with the
    largest error.

    Attributes:
        name: the parameter, such as ``"layers.0.weight"``.
        size: the number of its entries.
        checked: the number of entries that were compared.
        error: the largest relative error.
        where: the entry with this error, such as ``"layers.0.weight[3, 1]"``.
        given: the gradient of this entry.
        numerical: its central difference.
        kink: whether a kink within the step explains its error.
        n_kinks: the number of entries that disagree because of a kink.
        n_wrong: the number of entries that disagree without a kink.
        call: the call that returned ``given``, such as ``"second call on reused buffers"``; empty
            for the first call, of a network on newly allocated memory.
    """

    name: str
    size: int
    checked: int
    error: float
    where: str
    given: float
    numerical: float
    kink: bool
    n_kinks: int
    n_wrong: int
    call: str = ""


BESIDE = {"jvp": "backward", "hvp": "differences of gradients"}
"""What each product is compared with."""


@dataclass(frozen=True)
class ProductCheck:
    """The check of a product with a derivative along a random direction.

    Attributes:
        name: ``"jvp"``, ``⟨ẏ, J v⟩`` beside ``⟨Jᵀ ẏ, v⟩``, which finds a wrong ``jvp`` of a layer;
            or ``"hvp"``, ``∇²L v`` beside a difference of gradients, which finds a wrong
            ``backward_jvp`` and a wrong curvature.
        error: the relative error.
        given: the number, of ``∇²L v`` the norm.
        expected: the number that it should be.
        ok: whether the error is within the tolerance.
    """

    name: str
    error: float
    given: float
    expected: float
    ok: bool

    def __str__(self) -> str:
        verdict = "right" if self.ok else f"wrong: {self.given:.6g} for {self.expected:.6g}"
        return f"{self.name} beside {BESIDE[self.name]}: error {self.error:.1e}, {verdict}"


@dataclass(frozen=True)
class GradientReport:
    """The check of a whole gradient; it prints as a table.

    Attributes:
        checks: one `ParameterCheck` per parameter.
        tolerance: the relative error up to which an entry is correct.
        products: of a model the checks of products along a random direction.
        left_out: the products that were not checked, with the reason, such as a layer without
            ``jvp``.

    >>> check = ParameterCheck("w", 2, 2, 0.5, "w[1]", 3.0, 2.0, False, 0, 1)
    >>> print(GradientReport((check,), 1e-6))
    parameter  checked  worst error   at  given  differences  verdict
    w              2/2      5.0e-01  [1]      3            2  wrong: 1 entry
    """

    checks: tuple[ParameterCheck, ...]
    tolerance: float
    products: tuple[ProductCheck, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every disagreement is explained by a kink, and every product is correct."""
        wrong = any(check.n_wrong for check in self.checks)
        return not wrong and all(product.ok for product in self.products)

    @property
    def worst(self) -> ParameterCheck:
        """The parameter with the largest error, among the wrong ones if there are any."""
        return max(self.checks, key=lambda check: (check.n_wrong > 0, check.error))

    def raise_if_wrong(self) -> None:
        """Raise an error unless the gradient and the products are correct.

        Raises:
            ArgumentError: with the worst entry, or the wrong product, and the table.
        """
        if any(check.n_wrong for check in self.checks):
            worst = self.worst
            advice = f" {OWN_BUFFERS}" if worst.call.endswith(REUSED) else ""
            raise ArgumentError(
                f"the gradient must be that of the function; got {worst.given:.8g} in "
                f"{worst.where}{_in_call(worst)}, where central differences give "
                f"{worst.numerical:.8g}.{advice}\n{self}"
            )
        for product in self.products:
            if not product.ok:
                method = "jvp" if product.name == "jvp" else "backward_jvp and curvature"
                raise ArgumentError(
                    f"{product.name} must be that of the network; got {product.given:.8g} along a "
                    f"random direction instead of {product.expected:.8g}, by "
                    f"{BESIDE[product.name]}. Check the {method} of your layers.\n{self}"
                )

    def __str__(self) -> str:
        rows = [("parameter", "checked", "worst error", "at", "given", "differences", "verdict")]
        rows += [
            (
                check.name,
                f"{check.checked}/{check.size}",
                f"{check.error:.1e}",
                check.where.removeprefix(check.name) or "-",
                f"{check.given:.6g}",
                f"{check.numerical:.6g}",
                _verdict(check),
            )
            for check in self.checks
        ]
        widths = [max(len(row[k]) for row in rows) for k in range(6)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:6], widths[1:]), row[6]])
            for row in rows
        ]
        lines += map(str, self.products)
        return "\n".join(lines + [f"left out: {reason}" for reason in self.left_out])


def _verdict(check: ParameterCheck) -> str:
    parts = []
    if check.n_wrong:
        entries = "entry" if check.n_wrong == 1 else "entries"
        parts.append(f"wrong: {check.n_wrong} {entries}{_in_call(check)}")
    if check.n_kinks:
        parts.append(f"{check.n_kinks} at a kink")
    return ", ".join(parts) or "right"


def _in_call(check: ParameterCheck) -> str:
    return f" in the {check.call}" if check.call else ""
