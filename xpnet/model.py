"""Models: a network with its parameters, which can be trained, evaluated and saved."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from xpnet.activations import ActivationFunction, Identity, ReLU
from xpnet.atomic import StrPath
from xpnet.backend import (
    Array,
    Backend,
    BackendName,
    copied,
    get_backend,
    on_device_of,
    to_numpy,
)
from xpnet.data.batching import TrainingData
from xpnet.data.prepare import Validation, as_features, prepare, prepare_batch, prepare_features
from xpnet.data.preprocessing import InputSpec, MinMax, Standardize, takes_scaled_targets
from xpnet.data.target_scaling import as_target_scaling, warn_of_scale
from xpnet.data.targets import check_classes
from xpnet.engine.eager_step import Clip, Engine
from xpnet.engine.prediction import prediction_of
from xpnet.engine.value_and_grad import ValueAndGrad
from xpnet.errors import (
    ArgumentError,
    FileFormatError,
    plain_number,
    require,
    require_count,
    require_type,
)
from xpnet.initializers import Initializer
from xpnet.layers import BatchNorm, Dense, Layer
from xpnet.layers.base import is_any
from xpnet.layers.hidden import hidden_layers
from xpnet.losses import Loss
from xpnet.minimize.method import Method
from xpnet.network import Network, brief
from xpnet.ops.operations import Precision
from xpnet.optimizers import Optimizer, Penalty
from xpnet.optimizers.schedules import Schedule
from xpnet.parameters import Layout
from xpnet.random import RandomStreams, Rng, as_generator, as_seed, held_out_generator
from xpnet.serialization import ModelContents, read_model, write_model
from xpnet.state import VECTORS, ModelState, finite_vector, vector
from xpnet.training.callbacks import Callback, is_training_checkpoint
from xpnet.training.evaluation import bound_metrics, checked_metrics, evaluate
from xpnet.training.fit import restored_if_refused, train
from xpnet.training.full_batch import (
    FullBatchSettings,
    check_method,
    refuse_mini_batch_arguments,
    train_full_batch,
)
from xpnet.training.history import History
from xpnet.training.objective import NetworkObjective
from xpnet.training.progress import ProgressMode
from xpnet.training.resuming import read_training, record_and_saved
from xpnet.training.settings import (
    Metric,
    OnInterrupt,
    Settings,
    check_batches,
    check_metric_functions,
    warn_of_probabilities,
)
from xpnet.user_types import given_types


class Sequential:
    """Layers in a row, with the flat vectors of their parameters and gradient.

    `copy.deepcopy` also copies the vectors, and models can be pickled to send them to other
    processes; both copy through host memory. A copy continues the random streams of the model.
    Several threads may call `forward`, `predict`, `predict_proba` and `evaluate` at once. To store
    a model in a file use `save`.

    Args:
        layers: layers such as ``Dense(200, ReLU())``, at least one.
        n_in: the number of features.
        backend: a name that `get_backend` takes, such as ``"cupy"`` or ``"auto"``, or a `Backend`.
            Default ``"numpy"``.
        dtype: ``"float32"`` (default) or ``"float64"``; ignored if ``backend`` is a `Backend`,
            which has a dtype.
        device: the device of the backend, see `get_backend`: for CuPy the index of a CUDA device.
            Default: the current device. Ignored if ``backend`` is a `Backend`.
        rng: seed or generator of the initial parameters, and of the random numbers of trainings
            (see `fit`); default 0.
        loss: the loss, which determines the result of `predict`; `fit` sets it.
        preprocessing: a fitted `Standardize` or `MinMax`, applied to the features passed to `fit`,
            `evaluate`, `objective` and `predict`; default none.
        classes: the names of the classes, one for each output (two for a single output), in the
            order of their indices; `fit` sets it if the targets are strings.

    Attributes:
        state: the network and its vectors, an `xpnet.state.ModelState`.
        history: the `History` of the last training.
        loss: the loss, or ``None``.
        target_scaling: the scaling of the targets of a regression, or ``None``.
        classes: the names of the classes, or ``None``.
        trained: whether `fit` has trained the model, also before it was saved.

    Raises:
        ArgumentError: if an argument breaks its rule.
        BackendUnavailableError: if the backend does not work here.

    >>> from xpnet import Dense, ReLU, Sequential
    >>> model = Sequential([Dense(8, ReLU()), Dense(3)], n_in=4)
    >>> model.theta.shape, model.predict(np.zeros((2, 4))).shape
    ((67,), (2, 3))
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        n_in: int,
        *,
        backend: BackendName | Backend = "numpy",
        dtype: str = "float32",
        device: Any = None,
        rng: Rng = 0,
        loss: Loss | None = None,
        preprocessing: Standardize | MinMax | None = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        network, place = Network(layers, n_in), get_backend(backend, dtype=dtype, device=device)
        if loss is not None:
            require_type(loss, Loss, "loss")
        if preprocessing is not None:
            ok = isinstance(preprocessing, (Standardize, MinMax))
            rule, do = "be a fitted Standardize or MinMax", "Write Standardize.fit(X)."
            require(ok, "preprocessing", rule, preprocessing, do)
        self.loss = loss
        self.input_spec = InputSpec(place, network.n_in, network.n_out, preprocessing)
        self.classes = None if classes is None else tuple(map(plain_number, classes))
        check_classes(self.classes, network.n_out, loss)
        self.history, self.trained = History(), False
        # Copy a generator: its next draws may be the parameters of another model.
        streams = RandomStreams(as_seed(copy.deepcopy(rng)))
        with place.active():
            # Filled with NaN, so that elements without a view are detected.
            theta = place.empty(network.layout.size)
            statistics = place.empty(network.statistics_layout.size)
            theta[...] = statistics[...] = float("nan")
            network.init(theta, statistics, as_generator(rng))
            grad = place.zeros(network.layout.size)
            self._set_state(ModelState(network, place, theta, grad, statistics, streams))

    def _set_state(self, state: ModelState) -> None:
        self.state = state
        self._value_and_grad = ValueAndGrad(state)
        self._predict = prediction_of(state)

    def __getstate__(self) -> dict[str, Any]:
        """The attributes of a copy, with the vectors on the host."""
        rebuilt = "state", "_value_and_grad", "_predict"
        values = {k: v for k, v in vars(self).items() if k not in rebuilt}
        vectors = {name: to_numpy(getattr(self.state, name)) for name in VECTORS}
        return values | {"_copied": (self.network, self.backend, vectors, self.state.streams)}

    def __setstate__(self, values: dict[str, Any]) -> None:
        """Allocate the vectors of this copy, and create views of them."""
        network, backend, vectors, streams = values.pop("_copied")
        vars(self).update(values)
        with backend.active():
            arrays = {name: copied(backend.asarray(vector)) for name, vector in vectors.items()}
            self._set_state(ModelState(network, backend, **arrays, streams=copy.deepcopy(streams)))

    @property
    def network(self) -> Network:
        """The layers as a function of θ and X, which holds no array."""
        return self.state.network

    @property
    def backend(self) -> Backend:
        """The array library, device and dtype of the vectors."""
        return self.state.backend

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.network.layers

    @property
    def n_in(self) -> int:
        """The number of features."""
        return self.network.n_in

    @property
    def n_out(self) -> int:
        """The number of outputs."""
        return self.network.n_out

    @property
    def layout(self) -> Layout:
        """The position of each parameter in ``theta``: names, shapes and offsets."""
        return self.network.layout

    @property
    def preprocessing(self) -> Standardize | MinMax | None:
        """The scaling of raw features, or ``None``."""
        return self.input_spec.preprocessing

    @preprocessing.setter
    def preprocessing(self, value: Standardize | MinMax | None) -> None:
        self.input_spec = replace(self.input_spec, preprocessing=value)

    @property
    def target_scaling(self) -> Standardize | None:
        """The scaling between the units of the targets and those of the loss, or ``None``.

        ``fit(..., target_scaling="standardize")`` sets it, and a training with a loss that is no
        regression removes it. `fit`, `evaluate`, `objective` and `inspect_layers` apply it to
        targets, `predict` applies its inverse. `forward`, `value_and_grad`, `TrainingStep`,
        `batches` and `xpnet.derivatives` take and return numbers in the units of the loss, which a
        hand-written loop makes once::

            model.target_scaling = Standardize.fit(y[:, None])
            t = model.target_scaling.apply(y[:, None])

        Raises:
            ArgumentError: in an assignment, if the value is not a `Standardize` with one column
                for each target, or ``None``.

        >>> model = MLP(1, [4], 1)
        >>> model.target_scaling = Standardize([200.0], [50.0])
        >>> model.target_scaling.std.tolist()
        [50.0]
        """
        return self.input_spec.targets.scaling

    @target_scaling.setter
    def target_scaling(self, value: Standardize | None) -> None:
        scaling = None if value is None else as_target_scaling(value, self.n_out)
        targets = replace(self.input_spec.targets, scaling=scaling)
        self.input_spec = replace(self.input_spec, targets=targets)

    @property
    def theta(self) -> Array:
        """All parameters, one flat vector; an assignment copies into it.

        The assigned value must hold one finite number for each parameter, in any real dtype.

        Raises:
            ArgumentError: in an assignment, if the value breaks this rule.
        """
        return self.state.theta

    @theta.setter
    @on_device_of("self")
    def theta(self, value: Array) -> None:
        self.state.theta[...] = finite_vector(self.backend, self.layout, value, "theta")

    @property
    def grad(self) -> Array:
        """The gradient computed last, in the order of ``theta``."""
        return self.state.grad

    @property
    def statistics(self) -> Array:
        """All running statistics of batch norm, one flat vector; see `statistics_layout`."""
        return self.state.statistics

    @property
    def statistics_layout(self) -> Layout:
        """The position of each running statistic in ``statistics``.

        >>> model = MLP(3, [2], 1, batch_norm=True)
        >>> sorted(model.statistics_layout.views(model.statistics))
        ['layers.1.count', 'layers.1.mean', 'layers.1.mean_rest', 'layers.1.var']
        """
        return self.network.statistics_layout

    def forward(
        self, X: Array, *, theta: Array | None = None, training: bool = False, seed: int = 0
    ) -> Array:
        """The output for network inputs ``X: (m, n_in)``, ``(m, n_out)``; no preprocessing.

        Args:
            X: network inputs.
            theta: a vector of parameters, ``(P,)``, which is converted to the dtype of the model:
                smaller differences need a model in float64. ``None``: the parameters of the model.
            training: whether dropout drops and batch norm normalizes by these rows, in one pass
                over all of them, which does not update the running statistics. Default false.
            seed: the seed of the dropout masks if ``training``, an integer of at least 0;
                default 0.

        Raises:
            ArgumentError: if an argument breaks its rule.

        Monte-Carlo dropout is the distribution of the outputs over seeds::

            outputs = [model.forward(X, training=True, seed=s) for s in range(100)]

        On the backend ``"torch"`` the result can be differentiated with respect to ``X`` and
        ``theta``, of the tensors that require a gradient, to any order; all rows are then one
        pass, without the buffers of other passes::

            theta = model.theta.clone().requires_grad_()
            u = model.forward(x, theta=theta)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        """
        if self.state.backend.device is not None and self.backend.is_elsewhere:
            with self.backend.active():
                return self.forward(X, theta=theta, training=training, seed=seed)
        spec, place, library = self.input_spec, self.backend, self.backend.library
        recorded = library.differentiates and (library.records(X) or library.records(theta))
        parameters = theta if theta is None else vector(place, self.layout, theta, "theta")
        if not training and not recorded:
            return self._predict(*prepare_features(spec, X, preprocess=False), parameters)
        require_count(seed, "seed", low=0)
        inputs = spec.to_backend(as_features(spec, X, preprocess=False))
        if training and any(is_any(layer, "batch_statistics") for layer in self.layers):
            rule = "have at least 2 rows under batch norm in training"
            require(inputs.shape[0] > 1, "X", rule, inputs)
        inputs, parameters = place.recorded(X, inputs), place.recorded(theta, parameters)
        return self._predict.in_one_pass(inputs, parameters, training=training, seed=int(seed))

    def value_and_grad(
        self, X: Array, y: Array, loss: Loss, *, weight: Array | None = None, check: bool = True
    ) -> tuple[Array, Array]:
        """The loss on a batch in training mode, and its gradient with respect to θ.

        The running statistics of batch norm are updated. One epoch of a hand-written loop::

            state = optimizer.init(model.theta)
            for X_b, y_b in batches(X, y, 64, rng=epoch):
                loss, g = model.value_and_grad(X_b, y_b, CrossEntropy())
                optimizer.step(model.theta, g, state)

        Args:
            X: network inputs, ``(m, n_in)``; not preprocessed.
            y: targets in the form that the loss expects, such as class indices; not scaled.
            loss: the loss.
            weight: weights of the rows, ``(m,)``, or ``None``.
            check: whether ``X`` and ``y`` are checked, default true; on a GPU a check waits for the
                device.

        Returns:
            The loss, a 0-d array, and `grad`, which the next call overwrites: copy it to keep it.

        Raises:
            ArgumentError: if ``X``, ``y`` or ``weight`` does not fit the network and the loss.
        """
        if self.state.backend.device is not None and self.backend.is_elsewhere:
            with self.backend.active():
                return self.value_and_grad(X, y, loss, weight=weight, check=check)
        if check:
            require_type(loss, Loss, "loss")
        batch = prepare_batch(self.input_spec, X, y, loss, weight, check=check)
        return self._value_and_grad(loss, *batch), self.grad

    @on_device_of("self")
    def fit(  # long: each setting is an explicit argument
        self,
        X: Array,
        y: Array,
        *,
        loss: Loss,
        optimizer: Optimizer | Method,
        epochs: int = 20,
        batch_size: int | None = None,
        validation: Validation = None,
        metrics: Sequence[Metric] = (),
        schedule: Schedule | None = None,
        clip: Clip | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        sample_weight: Array | None = None,
        class_weight: Mapping[Any, float] | Sequence[float] | None = None,
        target_scaling: Literal["standardize"] | None = None,
        callbacks: Sequence[Callback] = (),
        shuffle: bool | None = None,
        drop_last: bool = False,
        accumulate: int = 1,
        progress: ProgressMode = True,
        engine: Engine | None = None,
        precision: Precision = "float32",
        rng: Rng | None = None,
        resume: StrPath | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> History:
        """Train on mini-batches, or by a method of `xpnet.minimize` on all rows at once.

        The model is changed in place. A method such as ``LBFGS()`` minimizes `objective`: an epoch
        is one iteration, which reads every row at least once; batch norm keeps its statistics and
        dropout is refused. The model ends with the best θ found, and ``history.stopped`` gives the
        reason.

        Ctrl-C ends a training after the current step or iteration: `TrainingCheckpoint` saves it,
        `EarlyStopping` restores the best epoch, averages are applied, ``history.stopped`` says
        where, and `KeyboardInterrupt` is raised unless ``on_interrupt="return"``. A second
        Ctrl-C ends it at once, in the middle of a step.

        Args:
            X: features ``(m, n_in)``: an array of the backend, a NumPy array or a `numpy.memmap`.
                A NumPy array is moved once; a memmap, and an array larger than half of a device's
                free memory, are read batch by batch.
            y: targets, one for each row, ``(m,)`` or ``(m, 1)``; class names may be strings.
                Labels from 1 to ``n_out`` without a 0 become the names of the classes of a model
                that has not been trained. Values may have several columns, ``(m, n_out)``;
                `predict` returns values in the shape that ``y`` had.
            loss: the loss, such as ``CrossEntropy()``.
            optimizer: the optimizer, such as ``Adam(lr=1e-3)``, or a method, such as ``LBFGS()``.
            epochs: passes over the data, at least 1, default 20; for a method the maximum number of
                iterations.
            batch_size: rows per step, at least 1, default 64. A method does not accept
                ``batch_size``, ``schedule``, ``clip``, ``shuffle``, ``drop_last``, ``accumulate``,
                ``engine`` and ``l1``.
            validation: ``(X, y)``, ``(X, y, weight)``, or the share of the rows to hold out at
                random, in ``(0, 1)``; default none. A share has the proportions of the classes.
                ``val_loss`` is the loss that `evaluate` returns for these rows: sample weights
                count, ``class_weight`` and penalties do not.
            metrics: metrics (`xpnet.metrics`) or functions ``f(predicted, target)`` that return
                one number and have distinct names. They are measured on all validation data, or on
                the training data if there are none, with the sample weights, but not the class
                weights, if they have the parameter ``sample_weight``. `xpnet.metric` declares
                whether a function needs decisions (default), scores or probabilities;
                `xpnet.sklearn_metric` takes those of scikit-learn. Values have the units and the
                shape of ``y``. A metric that the loss cannot serve, or that does not return one
                number, is refused: a function without state is called once with an output of zeros
                before the first step, any other (a method, an object, a function that uses a list
                or an iterator) only once an epoch; in the first one the model is restored. NaN is
                allowed, and never counts as the best.
            schedule: the schedule of the learning rate (`xpnet.optimizers.schedules`); default
                none.
            clip: `ClipByValue` or `ClipByNorm`; default none.
            l1: the rate λ of ``λ Σ|W|``, at least 0, default 0; weights only.
            l2: the rate λ of ``½ λ Σ W²``, at least 0, default 0; weights only.
            sample_weight: a weight for each row, at least 0.
            class_weight: a weight for each class in training: a mapping by class, or numbers in
                order.
            target_scaling: ``"standardize"`` computes the mean and the standard deviation of each
                column of ``y`` in float64, on the training rows that have a weight above 0, and
                trains on ``(y − mean)/std``; a constant column is only shifted. ``loss`` and
                ``val_loss`` are then in scaled units, metrics and predictions in those of ``y``, as
                float64. A model that has a `target_scaling` keeps it, because its parameters are in
                these units; one that was trained on unscaled values is refused. ``None`` (default)
                keeps it too, and computes none. Only for losses of
                values that can be scaled, such as `HalfMSE`, `Huber` and `GaussianNLL`.
            callbacks: functions called after each epoch with a `Run`, such as ``EarlyStopping()``;
                one that returns ``True`` stops the training, and any other value has no effect.
                What is wrong with them is reported before the first step; see `Callback`.
            shuffle: whether each epoch has a new random order; default true. The rows of a loss
                that is not a mean over rows keep theirs.
            drop_last: whether a shorter last batch is left out; default false.
            accumulate: the number k of parts in which each batch of ``batch_size`` rows is
                computed, in ``[1, batch_size]``, default 1. Their gradients are added up and θ is
                updated once, so that the training is that of ``accumulate=1`` up to rounding: a row
                counts by its share of the weights of the whole batch and has its dropout mask;
                penalty, clip, schedule and optimizer see the batch. The layers need the memory of
                a part, of ``ceil(batch_size/k)`` rows. Batch norm, `SAM` and losses that are no
                means over rows need the whole batch and are refused.
            progress: ``True`` (default) shows a bar in a notebook, and on a terminal if rich is
                installed (the extra ``cli``), else prints a line per epoch; ``"bar"`` (epoch and
                steps, time left, the loss, and the best of the number that a callback monitors),
                ``"lines"``, an integer k for a line every k epochs, or ``False`` for nothing. A
                bar ends as one line, which is all of it where there is no terminal.
            engine: ``"replay"`` records a step and replays it (a CUDA graph; on NumPy a list of
                compiled calls), which freezes numbers that a user-defined layer draws or counts
                itself; ``"eager"`` records nothing; ``None`` (default) replays if that is possible
                and every user-defined component is shown to use only its arguments, or its class
                sets ``replayable = True``. ``history.engine`` is the engine used, and the reason.
            precision: the format in which a GPU multiplies float32 matrices: ``"float32"``
                (default), ``"tf32"``, ``"bf16"`` or ``"fp16"`` (with a scaled loss); all other
                operations are in float32.
            rng: seed or generator of the row orders, the held-out rows and the dropout masks,
                each of which has a substream. ``None`` (default) continues the streams of the
                model, which began with the ``rng`` of its constructor and are saved with it: two
                trainings of 5 epochs have the orders and masks of one of 10. A seed restarts the
                streams; a generator is advanced and gives a seed. All trainings with one seed hold
                out the same rows of the same data.
            resume: the file of a `TrainingCheckpoint`, from which the training is continued, with
                the bits of one that was never interrupted. The data must be the same. Parameters,
                random streams and the state of a generator ``rng`` are those of the file.
                ``epochs`` counts all epochs: a larger number lengthens the training, and a schedule
                from there on. These may change too: ``schedule``, ``clip``, ``l1``, ``l2``,
                ``metrics``, ``progress``, ``engine``, ``accumulate``, numbers of the optimizer such
                as ``lr``, arguments of the callbacks, and the backend. Any other change is refused
                by name; another CPU, version, number of threads or engine is a warning.
            on_interrupt: ``"raise"`` (default) or ``"return"``, what follows Ctrl-C.

        Returns:
            The `History`, also stored as ``model.history``.

        Raises:
            ArgumentError: if an argument breaks its rule; the model is unchanged. If a metric or a
                callback breaks one only after the first epoch, the model keeps its parameters.
            NonFiniteError: if the loss, a parameter or the optimizer's state becomes NaN or
                infinite; the model is restored to the beginning of that epoch.
            FileFormatError: if the file ``resume`` is damaged; the model is unchanged.
            OSError: if ``resume`` or the file of a callback cannot be read or written.
            KeyboardInterrupt: after Ctrl-C, unless ``on_interrupt="return"``.

        Warns:
            UserWarning: if a model that has not been trained gets targets that are far from the
                scale of a fresh network, above 100 or varying by less than 1e-3, without a scaling;
                or ends with `Softmax` or `Sigmoid` before a loss that takes logits.
        """
        penalty = Penalty(l1, l2)
        do = "Take one such as Adam(lr=1e-3), or a method of xpnet.minimize, such as LBFGS()."
        require_type(optimizer, (Optimizer, Method), "optimizer", do)
        settings: Settings | FullBatchSettings
        if isinstance(optimizer, Method):
            refuse_mini_batch_arguments(
                optimizer,
                l1,
                batch_size=batch_size,
                schedule=schedule,
                clip=clip,
                shuffle=shuffle,
                drop_last=drop_last,
                engine=engine,
                accumulate=None if accumulate == 1 else accumulate,
            )
            settings = FullBatchSettings(
                loss, optimizer, epochs, metrics, l2, callbacks, progress, on_interrupt, rng
            )
            check_method(self.state, optimizer)
        else:
            settings = Settings(
                loss=loss,
                optimizer=optimizer,
                epochs=epochs,
                batch_size=64 if batch_size is None else batch_size,
                metrics=metrics,
                schedule=schedule,
                clip=clip,
                penalty=penalty if l1 or l2 else None,
                callbacks=callbacks,
                shuffle=shuffle is None or shuffle,
                drop_last=drop_last,
                accumulate=accumulate,
                progress=progress,
                engine=engine,
                precision=precision,
                on_interrupt=on_interrupt,
                rng=rng,
            )
        record, saved = None, None
        if resume is not None or any(map(is_training_checkpoint, callbacks)):
            record, saved = record_and_saved(
                self,
                settings,
                resume,
                X=X,
                y=y,
                sample_weight=sample_weight,
                validation=validation,
                class_weight=class_weight,
                target_scaling=target_scaling,
            )
        with restored_if_refused(self):
            if saved is not None:
                saved.set_up(self)
                seed = saved.streams[0]
            else:
                # A copy of a generator, because a training that is refused does not advance it.
                seed = self.state.streams.seed if rng is None else as_seed(copy.deepcopy(rng))
            prepared = prepare(
                self.input_spec,
                X,
                y,
                loss,
                classes=self.classes,
                sample_weight=sample_weight,
                class_weight=class_weight,
                validation=validation,
                rng=held_out_generator(seed),
                name_from_one=not self.trained,
                training=True,
                target_scaling=target_scaling,
            )
            data, held_out = prepared.data, prepared.validation
            measured = data if held_out is None else held_out
            checked = checked_metrics(metrics, loss, measured, prepared.classes)
            settings = replace(settings, metrics=checked)
            if isinstance(settings, Settings):
                check_batches(self.network, data.n_rows, settings)
            self._warn_of_misfits(loss, data)
            self.input_spec, self.loss, self.classes = data.spec, loss, prepared.classes
            self.trained = True
            if rng is not None and saved is None:
                self.state.streams.restart(as_seed(rng))
            start = self, self.state, data, held_out
            if isinstance(settings, FullBatchSettings):
                return train_full_batch(*start, settings, saved, record)
            return train(*start, settings, saved, record)

    @on_device_of("self")
    def objective(
        self,
        X: Array,
        y: Array,
        loss: Loss,
        *,
        l2: float = 0.0,
        sample_weight: Array | None = None,
        class_weight: Mapping[Any, float] | Sequence[float] | None = None,
        chunk_rows: int | None = None,
    ) -> NetworkObjective:
        """The mean loss over all rows as a function of θ, with its gradient, for `minimize`.

        ``f(θ) = Σ w_i ℓ_i(θ) / Σ w_i + ½ l2 Σ W²``, the loss that `evaluate` returns plus the
        penalty, in evaluation mode with the current statistics of batch norm. Features and targets
        are those of `fit`. The model is not changed::

            result = minimize(model.objective(X, y, CrossEntropy(), l2=1e-4), model.theta, LBFGS())
            model.theta = result.x

        Args:
            X: raw features ``(m, n_in)``, preprocessed here; a `numpy.memmap` is read by chunks.
            y: targets, one for each row; strings are replaced by the indices of the sorted names,
                and values are scaled by `target_scaling`.
            loss: the loss ℓ.
            l2: the rate of the penalty, at least 0, default 0; weights only.
            sample_weight: a weight for each row, at least 0.
            class_weight: a weight for each class: a mapping by class, or numbers in order.
            chunk_rows: rows evaluated at a time, at least 1; default 1024, or all for a loss that
                is not a mean over rows. It determines the memory required, and changes the result
                only by rounding.

        Returns:
            An object with ``value(theta)`` and ``value_and_grad(theta)``.

        Raises:
            ArgumentError: if an argument breaks its rule, or the network has batch norm that has
                seen no rows yet.
        """
        require_type(loss, Loss, "loss", "Take one of xpnet.losses, such as CrossEntropy().")
        prepared = prepare(
            self.input_spec,
            X,
            y,
            loss,
            classes=self.classes,
            sample_weight=sample_weight,
            class_weight=class_weight,
            name_from_one=not self.trained,
        )
        return NetworkObjective(self.state, prepared.data, loss, l2=l2, chunk_rows=chunk_rows)

    @on_device_of("self")
    def evaluate(
        self,
        X: Array,
        y: Array,
        *,
        metrics: Sequence[Metric] = (),
        sample_weight: Array | None = None,
    ) -> dict[str, float]:
        """The loss and metrics on ``(X, y)`` in evaluation mode, by name.

        Args:
            X: raw features ``(m, n_in)``.
            y: targets, one for each row, in their own units: `target_scaling` is applied here.
            metrics: metrics (`xpnet.metrics`), as for `fit`; default none.
            sample_weight: a weight for each row, at least 0, in the mean loss and in each metric
                that has the parameter ``sample_weight``, as those of xpnet; default 1.

        Returns:
            The mean loss as ``"loss"``, in scaled units if the model has a `target_scaling`, and
            each metric by its name.

        Raises:
            ArgumentError: if the model has no loss yet, or the data do not fit.
        """
        loss = self._trained_loss("evaluate")
        check_metric_functions(metrics)
        data = prepare(
            self.input_spec, X, y, loss, classes=self.classes, sample_weight=sample_weight
        ).data
        found = bound_metrics(metrics, loss, data, self.classes)
        return evaluate(self._predict, data, loss, found)

    def predict(self, X: Array) -> Array:
        """The decisions of the loss on the output for features ``X: (m, n_in)``.

        Returns:
            Class names (a NumPy array) if the model has them; else an array of the backend: class
            indices ``(m,)``, 0/1, ±1, or values. Values have the shape that ``y`` had in the last
            training, ``(m,)`` or ``(m, n_out)``, before it ``(m, n_out)``; with a
            `target_scaling` they are in the units of ``y``, as float64. Without a loss, the output
            of the network.

        Raises:
            ArgumentError: if ``X`` does not fit the model.
        """
        if self.state.backend.device is not None and self.backend.is_elsewhere:
            with self.backend.active():
                return self.predict(X)
        output = self._predict(*prepare_features(self.input_spec, X))
        if self.loss is None:
            return output
        decision = self.input_spec.predictions(output, self.loss)
        if self.classes is None or decision.ndim != 1:
            return decision
        return np.asarray(self.classes)[to_numpy(decision)]

    def predict_proba(self, X: Array) -> Array:
        """The probability of each class for each row of ``X``, ``(m, K)``.

        Raises:
            ArgumentError: if the loss defines no probabilities, the model has no loss yet, or ``X``
                does not fit the model.
        """
        if self.state.backend.device is not None and self.backend.is_elsewhere:
            with self.backend.active():
                return self.predict_proba(X)
        loss = self._trained_loss("predict_proba")
        return loss.probabilities(self._predict(*prepare_features(self.input_spec, X)))

    @on_device_of("self")
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file: layers, vectors, scalings, classes, random streams.

        The file has the safetensors format and is written atomically; `xpnet.load` reads it. Of a
        user-defined layer, activation, initializer or loss, a frozen dataclass, it holds the name
        of the class and the fields, not its code.

        Args:
            path: the path of the file.

        Raises:
            ArgumentError: if a user-defined part is no frozen dataclass, or one of its fields is
                not a number, a text, ``None``, a tuple or a part that can be saved.
            OSError: if the file cannot be written; an existing one remains.
        """
        write_model(self, path)

    def summary(self) -> str:
        """A table of the layers, their widths and numbers of parameters.

        >>> from xpnet import MLP
        >>> print(MLP(4, [8], 3).summary())
        layer                        output  parameters
        0  Dense(8, ReLU())               8          40
        1  Dense(3)                       3          27
           total                                     67
        """
        return self.network.summary()

    def __repr__(self) -> str:
        layers = ", ".join(map(brief, self.layers))
        return f"Sequential([{layers}], n_in={self.n_in}, backend={self.backend.name!r})"

    def _warn_of_misfits(self, loss: Loss, data: TrainingData) -> None:
        """Warn of targets that a fresh network does not reach, and of logits that are none."""
        if not self.trained:
            warn_of_probabilities(self.network, loss)
        if not self.trained and takes_scaled_targets(loss) and data.spec.targets.scaling is None:
            warn_of_scale(data.metric_targets)

    def _trained_loss(self, method: str) -> Loss:
        if self.loss is None:
            raise ArgumentError(
                f"{method} needs the loss of the model; got a model without one. "
                "Call fit first, or give loss= when building it."
            )
        return self.loss


def MLP(  # noqa: N802 - the usual name  # long: each setting is an explicit argument
    n_in: int,
    hidden: Sequence[int],
    n_out: int,
    *,
    activation: ActivationFunction = ReLU(),
    batch_norm: bool | BatchNorm = False,
    norm: Layer | None = None,
    residual: bool = False,
    output_activation: ActivationFunction = Identity(),
    dropout: float = 0.0,
    weight_init: Initializer | None = None,
    backend: BackendName | Backend = "numpy",
    dtype: str = "float32",
    device: Any = None,
    rng: Rng = 0,
    loss: Loss | None = None,
    preprocessing: Standardize | MinMax | None = None,
    classes: Sequence[Any] | None = None,
) -> Sequential:
    """A multilayer perceptron: hidden layers of the same form, then an output layer.

    Each hidden layer is ``Dense → activation → dropout``, or ``Dense → norm → activation →
    dropout``. Before batch norm ``Dense`` has no bias, because β has the same effect.

    With ``residual=True`` a hidden layer as wide as the hidden layer before it adds its input to
    its output: ``Residual(Dense, norm, activation, dropout)``. The first hidden layer, those that
    change the width and the output layer stay as they are.

    Args:
        n_in: the number of features.
        hidden: the widths of the hidden layers; empty for a linear model.
        n_out: the number of outputs: classes, or values.
        activation: φ of the hidden layers; default ReLU.
        batch_norm: ``True``, or a `BatchNorm` with its settings; default ``False``. It is short for
            ``norm=BatchNorm()``.
        norm: the layer between ``Dense`` and the activation, such as ``BatchNorm()``, which keeps
            the width; default none. Its scale does not begin with zeros before ReLU: no gradient
            would pass.
        residual: whether hidden layers of equal width are residual, default false.
        output_activation: φ of the output layer; default `Identity`. The losses of classes take
            the output without an activation; see `xpnet.losses`.
        dropout: the probability of dropping a hidden unit, in ``[0, 1)``; default 0.
        weight_init: initializer of all weights; ``None`` (default) selects He for ReLU and similar
            functions, LeCun for SELU, else Glorot.
        backend: see `Sequential`, as for the arguments below.
        dtype: ``"float32"`` (default) or ``"float64"``.
        device: the device of the backend, as for `Sequential`; default: the current one.
        rng: seed or generator, as for `Sequential`; default 0.
        loss: the loss; `fit` sets it.
        preprocessing: a fitted `Standardize` or `MinMax`.
        classes: the class names in the order of the outputs.

    Raises:
        ArgumentError: if an argument breaks its rule.

    >>> MLP(784, [200, 100], 10, batch_norm=True).layout.size
    178410
    >>> for layer in MLP(4, [8, 8], 3, batch_norm=True, residual=True).layers: print(brief(layer))
    Dense(8)
    BatchNorm()
    Activation(ReLU())
    Residual(Dense(8), BatchNorm(), Activation(ReLU()))
    Dense(3)
    """
    require_type(output_activation, ActivationFunction, "output_activation")
    layers = hidden_layers(hidden, activation, batch_norm, norm, residual, dropout, weight_init)
    layers.append(Dense(plain_number(n_out), output_activation, weight_init=weight_init))
    return Sequential(
        layers,
        n_in,
        backend=backend,
        dtype=dtype,
        device=device,
        rng=rng,
        loss=loss,
        preprocessing=preprocessing,
        classes=classes,
    )


def load(
    path: str | os.PathLike[str],
    *,
    backend: BackendName | Backend = "numpy",
    dtype: str | None = None,
    device: Any = None,
    types: Collection[type[Any]] | Mapping[str, type[Any]] = (),
) -> Sequential:
    """Read a model that `Sequential.save` wrote.

    Args:
        path: the path of the file.
        backend: the backend of the model; default NumPy.
        dtype: ``"float32"`` or ``"float64"``; ``None`` (default) keeps the dtype of the file.
            Ignored if ``backend`` is a `Backend`, which has a dtype.
        device: the device of the backend, as for `Sequential`.
        types: the user-defined classes in the file, ``types=[MyLayer]``; or a mapping from their
            names in the file, for classes that have been renamed or moved. A file imports nothing:
            these are the only classes beside xpnet's own of which it can make objects.

    Returns:
        The model.

    Raises:
        ArgumentError: if ``dtype`` is unknown, or ``types`` holds what is no frozen dataclass.
        BackendUnavailableError: if the backend does not work on this machine.
        FileFormatError: if the file is truncated, malicious or not a model file, or names a class
            that is not in ``types``.
        FileNotFoundError: if there is no such file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     MLP(2, [3], 1).save(f"{folder}/model.safetensors")
    ...     load(f"{folder}/model.safetensors", dtype="float64")
    Sequential([Dense(3, ReLU()), Dense(1)], n_in=2, backend='numpy')
    """
    saved = read_model(path, given_types(types))
    return _model_of(saved, os.fsdecode(path), backend, dtype, device)


def resume(
    path: StrPath,
    X: Array,
    y: Array,
    *,
    sample_weight: Array | None = None,
    validation: Validation = None,
    callbacks: Sequence[Callback] | None = None,
    metrics: Sequence[Metric] | None = None,
    epochs: int | None = None,
    progress: ProgressMode = True,
    on_interrupt: OnInterrupt = "raise",
    backend: BackendName | Backend | None = None,
    device: Any = None,
    types: Collection[type[Any]] = (),
) -> Sequential:
    """Continue a training that `TrainingCheckpoint` saved, with the settings of the file.

    It is ``model.fit(X, y, ..., resume=path)`` of a model and settings that are made from the file.

    Args:
        path: the file.
        X: the features of the training.
        y: the targets of the training.
        sample_weight: the weights of its rows, if it had them.
        validation: ``(X, y)`` or ``(X, y, weight)``, if it had such validation data; a share of the
            rows is taken from the file.
        callbacks: all callbacks. ``None`` (default) makes those of the file, which must be
            `EarlyStopping`, `Checkpoint`, `TrainingCheckpoint`, `CSVLogger`, `JSONLinesLogger`,
            `StochasticWeightAveraging` or `UseAverage` without validation data.
        metrics: all metrics; ``None`` (default) takes those of the file, from `xpnet.metrics`.
        epochs: the number of all epochs; ``None`` (default) takes that of the file.
        progress: see `Sequential.fit`.
        on_interrupt: see `Sequential.fit`.
        backend: the backend; ``None`` (default) takes that of the training.
        device: the device of the backend, as for `Sequential`.
        types: the classes of user-defined layers, losses, optimizers and schedules, as for `load`.

    Returns:
        The trained model; its ``history`` has all epochs.

    Raises:
        ArgumentError: if the data or another argument does not fit the training, or it has a
            user-defined part that is not in ``types``.
        FileFormatError: if the file is truncated, hostile, of a newer format or not a training.
        FileNotFoundError: if there is no such file.
        BackendUnavailableError: if the backend does not work on this machine.

    >>> import tempfile, xpnet
    >>> X, model = [[0.0], [1.0], [2.0], [3.0]], MLP(1, [4], 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/run.safetensors"
    ...     checkpoint = xpnet.TrainingCheckpoint(path, epochs=1)
    ...     _ = model.fit(X, X, loss=xpnet.HalfMSE(), optimizer=xpnet.Adam(), epochs=3,
    ...         callbacks=[checkpoint], progress=False)
    ...     model = resume(path, X, X, epochs=5, progress=False)
    >>> len(model.history)
    5
    """
    require_type(path, (str, bytes, os.PathLike), "path")
    saved = read_training(path, types=given_types(types, by_name=False))
    place = saved.record["environment"].get("backend") if backend is None else backend
    model = _model_of(saved.contents, saved.name, place, None, device)
    arguments = saved.arguments(
        callbacks=callbacks, metrics=metrics, epochs=epochs, validation=validation
    )
    del saved  # its arrays, which fit reads again
    model.fit(
        X,
        y,
        sample_weight=sample_weight,
        progress=progress,
        on_interrupt=on_interrupt,
        resume=path,
        **arguments,
    )
    return model


def _model_of(
    saved: ModelContents, name: str, backend: BackendName | Backend, dtype: str | None, device: Any
) -> Sequential:
    """Return a model with the contents of a file."""
    place = get_backend(backend, dtype=dtype or saved.dtype, device=device)
    try:
        model = Sequential(
            saved.network.layers,
            saved.network.n_in,
            backend=place,
            loss=saved.loss,
            preprocessing=saved.preprocessing,
            classes=saved.classes,
        )
    except Exception as error:  # such as an initializer, of a user too, that does not fit
        raise FileFormatError(f"{name!r} does not hold a model: {error}") from error
    model.state.streams.restart(*saved.streams)
    model.trained = saved.trained
    model.input_spec = replace(model.input_spec, targets=saved.targets)
    with model.backend.active():
        model.theta[...] = model.backend.asarray(saved.theta, model.backend.dtype)
        model.statistics[...] = model.backend.asarray(saved.statistics, model.backend.dtype)
    return model
