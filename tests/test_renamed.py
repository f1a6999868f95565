"""Names of earlier versions and of other libraries: the error names the present one."""

from __future__ import annotations

import inspect

import pytest

import xpnet
from xpnet import initializers, layers, optimizers
from xpnet.errors import ArgumentError, unknown_name
from xpnet.optimizers import Optimizer

RENAMED = {
    "Adam-rho1": (lambda: xpnet.Adam(rho1=0.8), "rho1 is named beta1 here; got rho1=0.8."),
    "Adam-rho2": (lambda: xpnet.Adam(rho2=0.9), "Write Adam(beta2=0.9)."),
    "AdamW": (lambda: xpnet.AdamW(lr=0.1, rho1=0.8), "Write AdamW(beta1=0.8)."),
    "AMSGrad": (lambda: xpnet.AMSGrad(rho1=0.8), "Write AMSGrad(beta1=0.8)."),
    "Adamax": (lambda: xpnet.Adamax(rho2=0.8), "Write Adamax(beta2=0.8)."),
    "Nadam": (lambda: xpnet.Nadam(rho1=0.8), "Write Nadam(beta1=0.8)."),
    "RAdam": (lambda: xpnet.RAdam(rho2=0.8), "Write RAdam(beta2=0.8)."),
    "Lion": (lambda: xpnet.Lion(rho1=0.8), "Write Lion(beta1=0.8)."),
    "Momentum": (lambda: xpnet.Momentum(alpha=0.8), "Write Momentum(momentum=0.8)."),
    "Nesterov": (lambda: xpnet.Nesterov(alpha=0.8), "Write Nesterov(momentum=0.8)."),
    "RMSProp": (lambda: xpnet.RMSProp(alpha=0.8), "alpha is named rho here; got alpha=0.8."),
    "betas": (
        lambda: xpnet.Adam(betas=(0.8, 0.9)),
        "betas is named beta1 and beta2 here; got betas=(0.8, 0.9). "
        "Write Adam(beta1=..., beta2=...).",
    ),
    "learning_rate": (lambda: xpnet.SGD(learning_rate=1), "learning_rate is named lr here; got"),
    "epsilon": (lambda: xpnet.AdaGrad(epsilon=1e-7), "Write AdaGrad(eps=1e-07)."),
}


@pytest.mark.parametrize(("make", "message"), RENAMED.values(), ids=RENAMED)
def test_renamed_keyword_names_ours(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert message in str(error.value)


def test_unknown_keyword_is_a_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'alpha'"):
        xpnet.Adam(alpha=0.9)


def test_engine_graph_names_replay():
    message = "engine 'graph' is named 'replay' here; got 'graph'. Write engine='replay'."
    assert str(unknown_name("engine", "graph", ("replay", "eager"))) == message


@pytest.mark.parametrize("name", optimizers.__all__)
def test_signatures_of_optimizers_are_explicit(name):
    cls = getattr(optimizers, name)
    if cls is not Optimizer:
        kinds = {parameter.kind for parameter in inspect.signature(cls).parameters.values()}
        assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD}


NAMES = {
    "activation": (lambda: layers.Dense(2, "relu"), "got 'relu'. Write ReLU()."),
    "activation-typo": (lambda: layers.Dense(2, "leaky_rellu"), "Write LeakyReLU()."),
    "activation-of-a-model": (lambda: xpnet.MLP(2, [3], 2, activation="GELU_tanh"), "GELUTanh()."),
    "function": (lambda: layers.Activation("tanh"), "got 'tanh'. Write Tanh()."),
    "initializer": (lambda: layers.Dense(2, weight_init="he_normal"), "Write HeNormal()."),
    "initializer-with-a-value": (
        lambda: layers.Dense(2, bias_init="constant"),
        "bias_init must be an Initializer; got 'constant'. Write Constant(value=...).",
    ),
    "initializer-family": (lambda: layers.Dense(2, weight_init="He"), "Write HeUniform()."),
    "empty-name": (lambda: layers.Dense(2, ""), "got ''. Write an object, not a name."),
    "inner-optimizer": (lambda: xpnet.Averaged("adam"), "got 'adam'. Write Adam()."),
    "schedule": (lambda: optimizers.LinearWarmup(1, then="cosine"), "Write Cosine()."),
    "nothing-near": (lambda: layers.Dense(2, "swish"), "got 'swish'. Write an object, not a name."),
}


@pytest.mark.parametrize(("make", "message"), NAMES.values(), ids=NAMES)
def test_name_of_a_class_says_what_to_write(make, message):
    with pytest.raises(ArgumentError) as error:
        make()
    assert str(error.value).endswith(message)


FIT = {
    "loss": ({"loss": "cross-entropy"}, "loss must be a Loss; got 'cross-entropy'. Write Cross"),
    "optimizer": ({"optimizer": "adam"}, "got 'adam'. Write Adam()."),
    "schedule": ({"schedule": "one cycle"}, "got 'one cycle'. Write OneCycle()."),
}


@pytest.mark.parametrize(("given", "message"), FIT.values(), ids=FIT)
def test_fit_says_what_to_write_for_a_name(given, message):
    settings = {"loss": xpnet.CrossEntropy(), "optimizer": xpnet.SGD()} | given
    with pytest.raises(ArgumentError, match="Write") as error:
        xpnet.MLP(2, [3], 2).fit([[1.0, 2.0]], [1], **settings)
    assert message in str(error.value)


def test_lecun_uniform_is_not_the_earlier_one(rng):
    wide, narrow = initializers.LecunUniform(), initializers.FanInUniform()
    drawn = [init.draw(rng, (100, 400)).var() for init in (wide, narrow)]
    assert drawn == pytest.approx([1 / 100, 1 / 300], rel=0.05)
