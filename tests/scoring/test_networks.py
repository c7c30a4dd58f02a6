"""Networks of one's own: a file or a module in one line, and a card that is said or found."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from checkpoint_files import small_graph, write_checkpoint
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from small_networks import small_iresnet

from serfiq_widgets import Scorer, find_face
from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.cli.main import main
from serfiq_widgets.engines import Normalisation
from serfiq_widgets.errors import CorruptModel, ModelWarning, UnknownModel
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.network import card_path, open_network, save_card
from serfiq_widgets.scoring.probe import CLEAR_GAP, describe, find_normalisation


@pytest.fixture(scope="module")
def y1_onnx(shared):
    """The shared MobileFaceNet as an ONNX model."""
    folder = shared / "models" / "mobilefacenet-y1"
    symbol = (folder / "model-symbol.json").read_bytes()
    return to_onnx(symbol, read_params(folder / "model-0000.params"), (3, 112, 112), "y1")


def fed(model, *nodes, weights=(), side=112):
    """The model behind other nodes, which turn ``pixels`` into what it takes."""
    first = model.graph.input[0].name
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        [
            helper.make_node(kind, [*inputs], [first if out == "data" else out], **settings)
            for kind, inputs, out, settings in nodes
        ]
        + list(model.graph.node),
        "fed",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        list(model.graph.output),
        [*model.graph.initializer, *(numpy_helper.from_array(v, k) for k, v in weights)],
    )
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=8)


def f4(*values):
    return np.array(values, "f4")


def variants(model):
    """The same network as it might come from elsewhere, and how it wants its pixels then."""
    shuffle = [("Gather", ["pixels", "order"], "data", {"axis": 1})]
    order = [("order", np.array([2, 1, 0]))]
    widen = [
        ("Mul", ["pixels", "factor"], "wide", {}),
        ("Add", ["wide", "middle"], "data", {}),
    ]
    unit = [("Mul", ["pixels", "factor"], "data", {})]
    shrink = [("Resize", ["pixels", "", "", "sizes"], "data", {"mode": "linear"})]
    sizes = [("sizes", np.array([1, 3, 112, 112]))]
    middle = [("factor", f4(127.5)), ("middle", f4(127.5))]
    return {
        "raw": (model, ("RGB", 0, 1)),
        "BGR": (fed(model, *shuffle, weights=order), ("BGR", 0, 1)),
        "-1 to 1": (fed(model, *widen, weights=middle), ("RGB", 127.5, 1 / 127.5)),
        "0 to 1": (fed(model, *unit, weights=[("factor", f4(255))]), ("RGB", 0, 1 / 255)),
        "larger": (fed(model, *shrink, weights=sizes, side=224), ("RGB", 0, 1)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("which", ["raw", "BGR", "-1 to 1", "0 to 1"])
def test_how_a_network_wants_its_pixels_is_found(y1_onnx, y1_scorer, tmp_path, which):
    model, (colour, mean, scale) = variants(y1_onnx)[which]
    path = tmp_path / "mine.onnx"
    onnx.save(model, path)
    scorer = Scorer(path, engine="onnxruntime")
    card = scorer.card
    assert (card.colour, card.mean, card.scale) == (
        colour,
        pytest.approx(mean),
        pytest.approx(scale),
    )
    assert any("found by a probe" in note for note in card.notes)
    face = find_face(sample_images()[0])
    # float32 rounding of the pixels, 1e-7, grows through fifty layers
    np.testing.assert_allclose(scorer.embed([face]), y1_scorer.embed([face]), atol=1e-4)
    assert scorer.score(face).raw == pytest.approx(y1_scorer.score(face).raw, abs=1e-4)


def test_another_input_size(y1_onnx, y1_scorer, tmp_path):
    model, _ = variants(y1_onnx)["larger"]
    # the graph states its batch of one in the sizes; here faces come one by one
    path = tmp_path / "larger.onnx"
    onnx.save(fixed_batch(model), path)
    card, network = open_network(path, {"colour": "RGB"})
    assert network.input_size == (224, 224)
    assert card.size == 224
    face = find_face(sample_images()[0])
    large = Scorer(path, engine="onnxruntime", card={"colour": "RGB"})
    alike = float(large.embed([face])[0] @ y1_scorer.embed([face])[0])
    assert alike > 0.97  # enlarged and shrunk again, a face stays the same person


def fixed_batch(model):
    """Resize by scales instead of sizes, so that the batch stays open."""
    for node in model.graph.node:
        if node.op_type == "Resize" and node.input[0] == "pixels":
            node.input[:] = ["pixels", "", "halves"]
    model.graph.initializer.append(numpy_helper.from_array(f4(1, 1, 0.5, 0.5), "halves"))
    return model


def test_checkpoint_and_export_agree(y1, y1_onnx, tmp_path):
    path = tmp_path / "export.onnx"
    onnx.save(y1_onnx, path)
    face = find_face(sample_images()[0])
    one, two = (Scorer(model, engine="onnxruntime").score(face) for model in (y1, path))
    assert one.raw == pytest.approx(two.raw, abs=1e-6)
    assert one.limit == pytest.approx(two.limit, abs=1e-6)


def test_what_is_said_is_checked(y1):
    with pytest.warns(ModelWarning, match=r"better in RGB than in BGR: check its card"):
        Scorer(y1, card={"colour": "BGR"})
    with pytest.warns(ModelWarning, match=r"hardly tells.*With RGB, 0 to 255 it tells them apart"):
        scorer = Scorer(y1, card={"mean": 127.5, "scale": 1 / 128})
    assert scorer.card.mean == 127.5  # what is said is done
    assert "hardly tells the two people" in scorer.card.notes[0]


def test_untrained_weights_look_wrong(tmp_path):
    path = write_checkpoint(tmp_path, *small_graph())
    with pytest.warns(ModelWarning, match="or its weights are not trained"):
        card, _ = open_network(path)
    assert (card.colour, card.mean, card.scale) == ("RGB", 0, 1)


@pytest.mark.slow
def test_a_card_beside_the_file(y1_onnx, tmp_path):
    path = tmp_path / "mine.onnx"
    onnx.save(y1_onnx, path)
    assert card_path(path) == tmp_path / "mine.card.toml"
    written = save_card(path, colour="RGB", rate=0.25, title='my "own"', trained_with_dropout=False)
    assert written == card_path(path)
    save_card(path, alpha=80.0, r=0.7)  # what it said before stays
    scorer = Scorer(path, engine="onnxruntime")
    card = scorer.card
    assert (scorer.rate, card.alpha, card.r, card.title) == (0.25, 80, 0.7, 'my "own"')
    assert any("trained without dropout" in note for note in card.notes)
    result = scorer.score(sample_images()[0])
    assert (result.rate, result.alpha, result.trained_with_dropout) == (0.25, 80, False)
    # keywords come before the card
    assert Scorer(path, card={"rate": 0.1}).rate == 0.1
    other = tmp_path / "other.toml"
    other.write_text("rate = 0.3\n")
    assert Scorer(path, card=other).rate == 0.3


def test_a_checkpoints_card_has_its_prefix(y1):
    assert card_path(y1).name == "model.card.toml"
    assert card_path("mini").name == "mini.card.toml"


def test_the_readmes_card_is_possible(tmp_path):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    path = tmp_path / "readme.toml"
    path.write_text(block, encoding="utf-8")
    with pytest.raises(CorruptModel, match="'pre_fc1_input' is not one of its sites"):
        Scorer(card=path)  # read to its end; only the bundled network has no such site


def test_a_size_that_the_graph_contradicts(y1_onnx, tmp_path):
    path = tmp_path / "mine.onnx"
    onnx.save(y1_onnx, path)
    with pytest.raises(CorruptModel, match=r"takes 112.112 pixels; its card says 160"):
        Scorer(path, card={"size": 160})


def test_the_site_can_be_said(y1, y1_scorer):
    site = y1_scorer.network.site
    assert Scorer(y1, card={"site": site, "colour": "RGB"}).network.n_features == 512
    with pytest.raises(CorruptModel, match=f"'nowhere' is not one of its sites.*{site}"):
        Scorer(y1, card={"site": "nowhere"})


def test_the_words_for_pixels():
    assert describe(Normalisation()) == "RGB, 0 to 255"
    assert describe(Normalisation("BGR", 127.5, 1 / 128)) == "BGR, -1 to 1"
    assert describe(Normalisation("RGB", 100, 0.5)) == "RGB, (pixel - 100) * 0.5"


def test_the_bundled_network_passes_its_trial(scorer):
    trial = find_normalisation(scorer.network, scorer.rate)
    assert trial.normalisation == scorer.card.normalisation
    assert trial.gap > 3 * CLEAR_GAP


def test_inspect_says_what_was_found(y1_onnx, tmp_path):
    path = tmp_path / "mine.onnx"
    onnx.save(y1_onnx, path)
    result = CliRunner().invoke(main, ["models", "inspect", str(path), "--save"])
    assert result.exit_code == 0, result.output
    for text in ("RGB, 0 to 255", "128 dimensions", "rate 0.4", "512 features", "found by a probe"):
        assert text in result.output
    assert "scale = 1.0" in (tmp_path / "mine.card.toml").read_text()
    result = CliRunner().invoke(main, ["score", str(sample_images()[0]), "--model", str(path)])
    assert "found by a probe" not in result.output  # now it is said


@pytest.mark.parametrize(("side", "dimensions"), [(112, 256), (160, 1024)])
def test_a_torch_module(side, dimensions):
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch, side, dimensions).train()
    card = {"colour": "RGB", "mean": 127.5, "scale": 1 / 127.5, "size": side}
    with pytest.warns(ModelWarning, match="its weights are not trained"):
        scorer = Scorer(module, card=card)
    assert module.training  # left as it was
    assert (scorer.rate, scorer.card.size) == (0.3, side)
    assert scorer.network.n_dimensions == dimensions
    face = find_face(sample_images()[0])
    pixels = scorer.card.normalisation(face.pixels[None])
    with torch.no_grad():
        theirs = module.eval()(torch.from_numpy(pixels)).numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(scorer.embed([face]), theirs, atol=1e-5)
    result = scorer.score(face)
    assert result.model == "SmallIResNet"
    assert result.engine in ("onnxruntime", "openvino")  # the faster one; not torch itself


def test_what_is_no_network():
    torch = pytest.importorskip("torch")
    with pytest.raises(UnknownModel, match="A int is not a network"):
        Scorer(42)
    with pytest.raises(CorruptModel, match="torch cannot export 'Linear'"):
        Scorer(torch.nn.Linear(3, 4))


def small_transformer(torch):
    """Patches, a class token for each image, attention, a layer."""
    nn = torch.nn
    torch.manual_seed(0)

    class SmallTransformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 32, 16, 16)
            self.token = nn.Parameter(torch.randn(1, 1, 32))
            layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)
            self.fc = nn.Linear(32, 16)

        def forward(self, x):
            patches = self.patches(x).flatten(2).transpose(1, 2)
            rows = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1)
            return nn.functional.normalize(self.fc(self.encoder(rows)[:, 0]))

    return SmallTransformer()


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.parametrize("make", [small_iresnet, small_transformer])
@pytest.mark.parametrize("precision", ["float", "half", "bfloat16", "double"])
def test_modules_of_every_precision_and_transformers(make, precision, capfd):
    torch = pytest.importorskip("torch")
    module = getattr(make(torch), precision)().train()
    kinds = [p.dtype for p in module.parameters()]
    scorer = Scorer(module, card={"colour": "RGB", "mean": 127.5, "scale": 1 / 127.5})
    assert [p.dtype for p in module.parameters()] == kinds
    assert module.training
    face = find_face(sample_images()[0])
    pixels = torch.from_numpy(scorer.card.normalisation(face.pixels[None]))
    with torch.no_grad():
        theirs = module.eval().float()(pixels).numpy()
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(scorer.embed([face]), theirs, atol=1e-5)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")  # no graph dump, no log


def test_a_module_that_fixes_the_number_of_images_is_told(capfd):
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch)
    forward = module.forward
    module.forward = lambda x: forward(x).view(len(x), -1)
    with pytest.raises(CorruptModel, match=r"torch cannot export.*x\.shape\[0\]"):
        Scorer(module)
    assert "graph(" not in capfd.readouterr().out


def of_own_half(torch):
    """Half precision in the module's own code, and a last layer in float32."""

    class OfOwnHalf(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = torch.nn.Sequential(
                torch.nn.Conv2d(3, 16, 3, 2), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
            ).half()
            self.fc = torch.nn.Linear(256, 32)

        def forward(self, x):
            return self.fc(self.trunk(x.half()).float())

    return OfOwnHalf()


def of_unit_weights(torch):
    """A last layer whose rows have length 1, as classifiers by angles have it."""

    class OfUnitWeights(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = torch.nn.Sequential(
                torch.nn.Conv2d(3, 16, 3, 2), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()
            )
            self.rows = torch.nn.Parameter(torch.randn(32, 256))

        def forward(self, x):
            rows = torch.nn.functional.normalize(self.rows)
            embedding = torch.nn.functional.linear(self.trunk(x), rows)
            return embedding.norm(dim=1, keepdim=True), embedding

    return OfUnitWeights()


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.parametrize("make", [of_own_half, of_unit_weights])
def test_modules_of_other_forms(make):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = make(torch).eval()
    face = find_face(sample_images()[0])
    scorer = Scorer(torch.nn.DataParallel(module), card={"mean": 127.5, "scale": 1 / 127.5})
    pixels = torch.from_numpy(scorer.card.normalisation(face.pixels[None]).copy())
    with torch.no_grad():
        answer = module(pixels)
    theirs = answer[-1] if isinstance(answer, tuple) else answer
    theirs = torch.nn.functional.normalize(theirs).numpy()
    # half precision rounds to 1/2048, more than once
    np.testing.assert_allclose(scorer.embed([face]), theirs, atol=4e-3)


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
def test_a_module_keeps_the_modes_of_its_parts():
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch).train()
    frozen = [one.eval() for one in module.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    Scorer(module, card={"colour": "RGB"})
    assert module.training
    assert frozen
    assert not any(one.training for one in frozen)


@pytest.mark.parametrize(
    ("forward", "says"),
    [
        (lambda torch, x: torch.linalg.svd(x @ x.T)[0], "svd"),
        (lambda torch, x: x.permute(0, 2, 1) @ x, "not implemented|permute"),
        (
            lambda torch, x: x if x[0].sum() < x[1:].sum() else -x,
            "x.shape|other embeddings|data-dependent",
        ),
    ],
)
def test_what_an_exporter_does_not_know_is_said_in_one_line(forward, says, capfd):
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch)
    inner = module.forward
    module.forward = lambda x: forward(torch, inner(x))
    with pytest.raises(
        CorruptModel, match=rf"torch cannot export 'SmallIResNet': .*({says})"
    ) as caught:
        Scorer(module, card={"colour": "RGB"})
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
@pytest.mark.parametrize(("stated", "rate"), [(0.3, 0.3), (1.0, 0.4), (0.99, 0.4), (0.001, 0.4)])
def test_the_rate_of_a_modules_dropout_is_a_rate(stated, rate):
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch)
    module.dropout.p = stated
    scorer = Scorer(module, card={"colour": "RGB"})
    assert scorer.rate == rate
    assert scorer.card.trained_with_dropout is (True if rate == stated else None)


@pytest.mark.filterwarnings("ignore:With:serfiq_widgets.errors.ModelWarning")
def test_a_module_without_dropout_says_so():
    """IResNets have Dropout(p=0) where nobody asks for more."""
    torch = pytest.importorskip("torch")
    module = small_iresnet(torch)
    module.dropout.p = 0.0
    scorer = Scorer(module, card={"colour": "RGB"})
    assert (scorer.rate, scorer.card.trained_with_dropout) == (0.4, False)
    assert any("trained without dropout" in note for note in scorer.card.notes)
    assert scorer.score(find_face(sample_images()[0])).raw < 1
