"""A model behind the scan: what is kept of it, and when that ends."""

import gc
import weakref

import keras
import numpy as np
import pytest
from keras import layers

from tfbs_shift import evaluate, scan
from tfbs_shift.scanning import predictors

from .conftest import WINDOW, Subclassed, functional, random_labels, random_sequences, sequential


@pytest.fixture
def examples(rng):
    return random_sequences(rng, 9, WINDOW + 3), rng.integers(0, 2, 9)


def brute_force(model, x, y):
    """Losses (N, S) of one sigmoid."""
    # Not by predict: Keras goes on with the function that it made of the model before.
    predictions = [model(x[:, s : s + WINDOW].astype("f4")) for s in range(4)]
    p = np.stack([keras.ops.convert_to_numpy(one)[:, 0] for one in predictions], axis=1)
    return -np.log(np.where(y[:, None] == 1, p, 1 - p))


def test_nothing_of_ours_hangs_in_the_model(examples):
    model = functional(1, "sigmoid")
    before = set(vars(model))
    scan(model, *examples)
    evaluate(model, *examples)
    assert {name for name in set(vars(model)) - before if "shift" in name} == set()


@pytest.mark.parametrize("make", [functional, sequential, Subclassed])
def test_a_model_that_is_let_go_of_takes_its_graphs_along(make, rng):
    model = make()
    x = random_sequences(rng, 9, WINDOW + 3)
    scan(model, x, random_labels(rng, 9, model.layers[-1].units if make is sequential else 2,
                                 "binary" if make is sequential else "categorical"),
         window=WINDOW)  # fmt: skip
    assert model in predictors._kept
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def with_loss(model, examples):
    return scan(model, *examples, loss=lambda y, p: (y - p)[:, 0] ** 2 * model.count_params())


class Measured(keras.Model):
    """Its loss is a method of its own."""

    def error(self, y, p):
        return keras.ops.mean((y - p) ** 2)


def with_method(model, examples):
    measured = Measured(model.input, model.output)
    measured.compile("sgd", measured.error)
    scan(measured, *examples, task="values")
    gone = weakref.ref(measured)
    del measured
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "use",
    [
        lambda model, examples: scan(model, examples[0], output=lambda p: p + len(model.layers)),
        lambda model, examples: evaluate(model, examples[0], output=lambda p, m=model: p),
        with_loss,
        with_method,
    ],
)
def test_functions_that_hold_the_model_do_not_keep_it(use, examples):
    model = functional(1, "sigmoid")
    use(model, examples)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_graph_serves_every_function_of_its_predictions(examples):
    x, y = examples
    model = functional(1, "sigmoid")
    p = np.exp(-brute_force(model, x, np.ones(9)))
    for power in (1, 2, 3):
        found = scan(model, x, y, output=lambda p, power=power: p**power, task="values").loss
        assert np.allclose(found, (p**power - y[:, None]) ** 2, atol=1e-5)
        assert len(predictors._graphs_of(model)) == 1


def test_a_graph_serves_the_next_call(examples):
    model = functional(1, "sigmoid")
    scan(model, *examples)
    (graph,) = predictors._graphs_of(model).values()
    scan(model, *examples)
    assert list(predictors._graphs_of(model).values()) == [graph]


def test_other_layers_are_another_network(examples):
    """Between two scans the last layer is taken off and others put on."""
    x, y = examples
    model = sequential()
    predictors.predictor(model).run(x[:, :WINDOW])
    assert np.allclose(scan(model, x, y).loss, brute_force(model, x, y), atol=1e-5)
    model.pop()
    model.add(layers.Dense(3, "tanh"))
    model.add(layers.Dense(1, "sigmoid"))
    assert np.allclose(scan(model, x, y).loss, brute_force(model, x, y), atol=1e-5)
    windows = x[:, 1 : 1 + WINDOW]
    expected = keras.ops.convert_to_numpy(model(windows.astype("f4")))
    assert np.allclose(predictors.predictor(model).run(windows), expected, atol=1e-6)


def test_another_loss_is_another_graph(examples):
    x, y = examples
    model = functional(1, "sigmoid")
    first = scan(model, x, y).loss
    model.compile("sgd", "mse")
    p = np.where(y[:, None] == 1, np.exp(-first), 1 - np.exp(-first))
    assert np.allclose(scan(model, x, y).loss, (y[:, None] - p) ** 2, atol=1e-5)


def test_another_precision_is_another_graph(examples):
    model = functional(1, "sigmoid")
    scan(model, *examples)
    first = predictors._graphs_of(model)
    model.layers[1].dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    scan(model, *examples)
    assert predictors._graphs_of(model) is not first


def test_new_weights_need_no_new_graph(examples):
    x, y = examples
    model = functional(1, "sigmoid")
    scan(model, x, y)
    first = predictors._graphs_of(model)
    model.set_weights([w + 0.3 for w in model.get_weights()])
    assert np.allclose(scan(model, x, y).loss, brute_force(model, x, y), atol=1e-5)
    assert predictors._graphs_of(model) is first
