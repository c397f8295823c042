"""Weights into models and back: names, axes, what does not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx, traverse_util
from safetensors.numpy import save_file

from jaxcv import genotype
from jaxcv.blocks import BasicBlock
from jaxcv.models import CIFAR, CellNetwork, ResNet, create_model, list_models
from jaxcv.models.network import Entry
from jaxcv.models.registry import MODELS
from jaxcv.models.resnet import NAMES
from jaxcv.pretrained import _naming, load_weights, read_state_dict, save_weights


def flat(model):
    return traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(model)))


def small(seed, **options):
    options = {"depths": (1, 1), "num_classes": 3, **options}
    return ResNet(BasicBlock, **options, rngs=nnx.Rngs(seed))


def assert_equal(ours, others):
    ours, others = flat(ours), flat(others)
    assert ours.keys() == others.keys()
    for path, array in ours.items():
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(array, others[path], strict=True)


def test_the_small_networks_of_both_libraries_load(tmp_path):
    for library, options in (
        ("pytorch_resnet_cifar10", {}),
        ("pytorch-cifar-models", {"shortcut": "projection"}),
    ):
        model = create_model("resnet20_cifar", **options, rngs=nnx.Rngs(0))
        path = tmp_path / f"{library}.safetensors"
        save_weights(model, path, "resnet20_cifar", library=library)
        again = create_model("resnet20_cifar", **options, pretrained=path)
        assert_equal(again, model)


@pytest.mark.parametrize("name", [name for name in list_models() if MODELS[name].names])
def test_every_name_is_given_once_and_leads_back(name):
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    shapes = {path: variable.shape for path, variable in flat(model).items()}
    # Of one number each, so that nothing takes memory.
    arrays = {
        path: np.broadcast_to(np.float32(number), shape)
        for number, (path, shape) in enumerate(shapes.items())
    }
    for library, names in MODELS[name].names.items():
        theirs = _naming.to_theirs(arrays, names)
        assert len(theirs) == len(arrays)
        assert {name.rpartition(".")[2] for name in theirs} <= {
            "weight",
            "bias",
            "running_mean",
            "running_var",
        }
        ours = _naming.to_ours(theirs, shapes, {library: names})
        for number, (path, shape) in enumerate(shapes.items()):
            assert ours[path].shape == shape
            assert ours[path].min() == ours[path].max() == number


def test_what_is_written(tmp_path):
    model = small(0)
    path = tmp_path / "some.safetensors"
    save_weights(model, path, NAMES)
    read = read_state_dict(path)
    assert all(array.dtype == np.float32 for array in read.values())
    kernel = np.asarray(model.stages[1][0].convolutions[0].kernel[...])
    for o, i, row, column in np.ndindex(2, 2, 3, 3):
        assert read["layer2.0.conv1.weight"][o, i, row, column] == kernel[row, column, i, o]
    np.testing.assert_array_equal(read["fc.weight"].T, model.classifier.kernel[...])
    np.testing.assert_array_equal(read["bn1.running_var"], model.stem_norm.variance[...])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    other = small(1)
    load_weights(other, path, NAMES)
    assert_equal(other, model)


@pytest.fixture
def by_name(monkeypatch):
    """The name of a model that is small."""
    make = functools.partial(ResNet, BasicBlock, (1, 1))
    monkeypatch.setitem(MODELS, "own", Entry(make, MODELS["resnet18"].names, num_classes=3))
    return "own"


def test_a_model_made_by_name(tmp_path, by_name):
    made = create_model(by_name, rngs=nnx.Rngs(0))
    path = tmp_path / "some.safetensors"
    save_weights(made, path, by_name, library="timm")
    assert_equal(create_model(by_name, pretrained=path), made)
    narrow = {name: array.astype(np.float16) for name, array in read_state_dict(path).items()}
    save_file(narrow, path)
    widened = create_model(by_name, pretrained=str(path), dtype=jnp.bfloat16)
    assert widened.dtype == jnp.bfloat16
    for way, array in flat(widened).items():
        assert array.dtype == jnp.float32
        np.testing.assert_array_equal(array, flat(made)[way].astype(jnp.float16))


def cells(*, auxiliary):
    return CellNetwork(
        genotype.published["DARTS_V2"], CIFAR, 2, 3, 5, auxiliary=auxiliary, rngs=nnx.Rngs(0)
    )


def test_an_auxiliary_head_is_left_away_only_where_there_is_none(tmp_path):
    with_head, without = (
        nnx.eval_shape(functools.partial(cells, auxiliary=auxiliary)) for auxiliary in (True, False)
    )
    random = np.random.default_rng(0)
    arrays = {
        path: random.normal(size=variable.shape).astype(np.float32)
        for path, variable in flat(with_head).items()
    }
    tensors = _naming.to_theirs(arrays, ())
    for model in (with_head, without):
        load_weights(model, tensors, ())
        for path, array in flat(model).items():
            np.testing.assert_array_equal(array, arrays[path])
    assert len(flat(without)) < len(flat(with_head)) == len(arrays)
    with pytest.raises(ValueError, match=r"unexpected: auxiliary\.more"):
        load_weights(with_head, tensors | {"auxiliary.more": np.zeros(1)}, ())
    fewer = {name: array for name, array in tensors.items() if not name.startswith("aux")}
    with pytest.raises(ValueError, match=r"missing: auxiliary\.\S+; "):
        load_weights(with_head, fewer, ())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_prefixes_and_counts_of_batches(prefix, tmp_path):
    model, other = small(0), small(1)
    path = tmp_path / "some.safetensors"
    save_weights(model, path, NAMES)
    tensors = read_state_dict(path) | {"bn1.num_batches_tracked": np.array(3)}
    load_weights(other, {f"{prefix}{name}": array for name, array in tensors.items()}, NAMES)
    assert_equal(other, model)


def test_what_does_not_fit_is_listed(tmp_path):
    path = tmp_path / "some.safetensors"
    save_weights(small(0), path, NAMES)
    target = small(1, num_classes=4, depths=(2, 1))
    before = flat(target)
    tensors = read_state_dict(path) | {f"extra{number}": np.zeros(1) for number in range(6)}
    with pytest.raises(ValueError) as caught:
        load_weights(target, tensors, NAMES)
    missing = ("bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.weight")
    assert str(caught.value).splitlines() == [
        "the weights do not fit the model by the names of the given table",
        f"missing: {'; '.join(f'layer1.1.{name}' for name in missing)} and 6 more",
        "unexpected: extra0; extra1; extra2; extra3 and 2 more",
        "of another shape: fc.bias (3,), allowed is (4,); fc.weight (3, 128), allowed is (4, 128)",
    ]
    jax.tree.map(np.testing.assert_array_equal, flat(target), before)


def test_the_library_whose_names_fit_is_taken():
    arrays = {("a", "kernel"): np.arange(6.0).reshape(2, 3), ("b", "mean"): np.zeros(2)}
    shapes = {path: array.shape for path, array in arrays.items()}
    libraries = {"first": ((r"^a\.", "x."),), "second": ((r"^a\.", "y."), (r"^b\.", "z."))}
    for library, names in libraries.items():
        theirs = _naming.to_theirs(arrays, names)
        assert (
            theirs.keys()
            == {
                "first": {"x.weight", "b.running_mean"},
                "second": {"y.weight", "z.running_mean"},
            }[library]
        )
        ours = _naming.to_ours(theirs, shapes, libraries)
        np.testing.assert_array_equal(ours["a", "kernel"], arrays["a", "kernel"])
    with pytest.raises(ValueError, match=r"by the names of second\nmissing: z\.running_mean"):
        _naming.to_ours({"y.weight": np.zeros((3, 2))}, shapes, libraries)


def test_two_variables_with_one_name_are_an_error():
    with pytest.raises(ValueError, match=r"call both \('a', 'bias'\) and \('b', 'bias'\) 'x.bias'"):
        _naming.to_theirs(
            {("a", "bias"): np.zeros(1), ("b", "bias"): np.zeros(1)}, ((r"^[ab]\.", "x."),)
        )


def test_wrong_arguments_are_named(tmp_path, monkeypatch):
    path = tmp_path / "some.safetensors"
    with pytest.raises(ValueError, match="library='keras'; allowed are torchvision, timm"):
        save_weights(small(0), path, "resnet18", library="keras")
    with pytest.raises(ValueError, match=r"name='resnet1'; .*did you mean resnet18"):
        save_weights(small(0), path, "resnet1")
    with pytest.raises(ValueError, match=r"rngs=None; allowed is an nnx\.Rngs, or pretrained"):
        create_model("resnet18")
    monkeypatch.setitem(MODELS, "own", Entry(functools.partial(ResNet, BasicBlock, (1, 1))))
    with pytest.raises(ValueError, match="names='own'; allowed are models with published weights"):
        create_model("own", pretrained=path)
    assert not path.exists()
