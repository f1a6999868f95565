"""What a check of gradients found, parameter by parameter, to print or to raise."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.errors import ArgumentError


@dataclass(frozen=True)
class ParameterCheck:
    """The check of one parameter's gradient: how many entries, and the worst of them.

    The worst is the entry of the largest error that no kink explains, if one is wrong, else the
    entry of the largest error.

    Attributes:
        name: the parameter, such as ``"layers.0.weight"``.
        size: how many entries it has.
        checked: how many of them were compared.
        error: the largest relative error.
        where: the entry that has it, such as ``"layers.0.weight[3, 1]"``.
        given: the gradient there.
        numerical: what central differences give there.
        kink: whether a kink within the step explains the error there.
        n_kinks: how many entries disagree for a kink.
        n_wrong: how many entries disagree without one.
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


@dataclass(frozen=True)
class GradientReport:
    """The check of a whole gradient; prints as a table.

    Attributes:
        checks: one a parameter.
        tolerance: the relative error that is still right.

    >>> check = ParameterCheck("w", 2, 2, 0.5, "w[1]", 3.0, 2.0, False, 0, 1)
    >>> print(GradientReport((check,), 1e-6))
    parameter  checked  worst error   at  given  differences  verdict
    w              2/2      5.0e-01  [1]      3            2  wrong: 1 entry
    """

    checks: tuple[ParameterCheck, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every disagreement is explained by a kink."""
        return all(check.n_wrong == 0 for check in self.checks)

    @property
    def worst(self) -> ParameterCheck:
        """The parameter with the largest error, of the wrong ones if there are any."""
        return max(self.checks, key=lambda check: (check.n_wrong > 0, check.error))

    def raise_if_wrong(self) -> None:
        """Raise unless the gradient is right.

        Raises:
            ArgumentError: with the worst entry and the table.
        """
        if not self.ok:
            worst = self.worst
            raise ArgumentError(
                f"the gradient must be that of the function; got {worst.given:.8g} in "
                f"{worst.where}, where differences give {worst.numerical:.8g}.\n{self}"
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
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:6], widths[1:]), row[6]])
            for row in rows
        )


def _verdict(check: ParameterCheck) -> str:
    parts = []
    if check.n_wrong:
        parts.append(f"wrong: {check.n_wrong} {'entry' if check.n_wrong == 1 else 'entries'}")
    if check.n_kinks:
        parts.append(f"{check.n_kinks} at a kink")
    return ", ".join(parts) or "right"
