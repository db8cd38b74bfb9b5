"""A few malformed inputs of every kind; `python -m benchmarks.malformed` tries thousands."""

import random

import pytest

from benchmarks.malformed import KINDS, Inputs, one


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("inputs"), random.Random(0))


@pytest.mark.filterwarnings("default")  # of the libraries, about what they are given here
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_malformed_inputs_are_a_sentence_at_once_and_stay_as_they_are(make: object, inputs: Inputs) -> None:
    for number in range(8):
        inputs.rng.seed(number)
        end, said, took = one(inputs, make)  # type: ignore[arg-type]
        assert end in ("went on", "a sentence", "SLOW"), (number, said, took)
