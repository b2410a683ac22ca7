"""Serving on a CPU needs no torch, and says what torch would have said."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_safetensors

from deadpan.core.errors import ModelError
from deadpan.demo.posts import read_posts
from models.checkpoint import checkpoint as checkpoints
from models.checkpoint.loading import load_network, stored_tensors
from models.engines import choose, graphs, loading
from models.engines.torch_engine import ImageModule, TextModule
from models.network.config import ModelConfig
from models.network.encoders import pinned
from models.network.features import Features
from models.network.fusion import FUSIONS, FusionHead
from models.network.head import Head
from models.network.network import Network
from models.network.own_tensors import own_tensors
from models.network.presets import bert_resnet50_config, mini_config, multilingual_config
from models.network.state_dicts import read_state_dict
from models.posts.prediction import PreparedPost
from models.serving.classifier import Classifier
from tests.harness import environment
from tests.unit.models.test_architectures import save_resnet, save_text

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "deadpan" / "demo"


def with_everything(folder: Path) -> checkpoints.CheckpointInfo:
    """A checkpoint that has all that a configuration can ask for with these encoders, its tensors
    at random, and every tensor of its encoders a little moved."""
    config = pinned(
        dataclasses.replace(
            mini_config("everything"),
            questions=("sentiment", "sarcasm", "offensive", "hateful"),
            of_pictures=("sentiment", "sarcasm"),
            sides=True,
            hidden=32,
            max_tokens=64,
            image_size=96,
            fusion="gated",
        )
    )
    torch.manual_seed(5)
    network = Network(config)
    untrained = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, tensor in network.named_parameters():
        own = tensor.data
        noise = torch.randn_like(own)
        of_encoder = not name.startswith("head.") and own.std() > 0
        own += 0.02 * own.std() * noise if of_encoder else 0.05 * noise
    stored = stored_tensors(network, untrained)
    assert any(name.startswith("image.") and name.endswith("/codes") for name in stored)
    generator = np.random.default_rng(7)
    languages = dataclasses.replace(multilingual_config(), buckets=1024)
    for name, shape in {"weight": (3, 512), "bias": (3,), "runs": (1024, 4)}.items():
        stored[f"foreign.{name}"] = np.abs(generator.normal(size=shape)).astype(np.float16)
    names = checkpoints.names_in(stored)
    trained = tuple(sorted(name for name in names if name.startswith(("text.", "image."))))
    config = dataclasses.replace(config, trained=trained, multilingual=languages)
    provenance = {
        "data": {"train": [{"name": "toy", "sha256": "0" * 64}]},
        "scores": {"toy": {}},
        "versions": {"deadpan": "0"},
        "training": {},
    }
    weights = {name: torch.from_numpy(array) for name, array in stored.items()}
    return checkpoints.save(folder, config, to_safetensors(weights), provenance)


def posts_of_demo(classifier: Classifier) -> list[PreparedPost]:
    posts = list(read_posts(DEMO / "posts.jsonl").posts.values())[:12]
    pictures = [[(DEMO / path).read_bytes() for path in post.images] for post in posts]
    return [
        *(classifier.prepare(post.text, some) for post, some in zip(posts, pictures, strict=True)),
        classifier.prepare("Das ist ja ganz wunderbar heute", pictures[0], "de"),
        classifier.prepare("", []),
    ]


def of_torch(network: Network, head: FusionHead, classifier: Classifier, posts: Any) -> Any:
    """The same posts' logits by torch alone, in float32, one by one."""
    found = []
    for post in posts:
        ids = torch.tensor([post.token_ids or [0]])
        squares = [torch.from_numpy(np.stack(image.squares)) for image in images_of(post)]
        with torch.inference_mode():
            text, _ = TextModule(network)(ids, torch.ones_like(ids))
            images = [ImageModule(network)(each)[0].mean(dim=0) for each in squares]
            features = Features(
                text,
                torch.tensor([bool(post.token_ids)]),
                torch.stack(images, dim=1)
                if images
                else torch.zeros(1, 1, network.config.image.dim),
                torch.ones(1, max(1, len(images)), dtype=torch.bool) & bool(images),
            )
            told = classifier._features.with_foreign(features, [post])  # type: ignore[arg-type]
            if told.foreign is not None:
                foreign, where = torch.from_numpy(told.foreign), torch.from_numpy(told.is_foreign)
                features = features._replace(foreign=foreign, is_foreign=where)
            found.append(head(features))
    return found


def images_of(post: PreparedPost) -> list[Any]:
    return [image for image in post.images if hasattr(image, "squares")]


@pytest.mark.parametrize("name", ["mini", "everything"])
def test_every_probability_is_that_of_torch(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.engines.openvino_engine.cpu_computes_bf16", lambda: False)
    if name == "everything":
        with_everything(tmp_path / name)
    classifier = Classifier.load(
        name if name == "mini" else tmp_path / name, device="cpu", engine="openvino"
    )
    checkpoint = classifier.checkpoint
    assert graphs.why_not(checkpoint.config) == ""
    posts = posts_of_demo(classifier)
    assert sum(len(images_of(post)) for post in posts) > 8
    network = load_network(checkpoint)
    # what reads other languages is no part of torch's network
    found = classifier.logits(posts)
    for row, expected in enumerate(of_torch(network, network.head, classifier, posts)):
        there = {
            "fused": True,
            "text_alone": bool(posts[row].token_ids),
            "image_alone": bool(images_of(posts[row])),
        }
        for read_out, by_question in found.items():
            for question, logits in by_question.items():
                if there[read_out]:
                    one = torch.from_numpy(logits[row]).softmax(dim=-1)
                    other = expected[read_out][question][0].double().softmax(dim=-1)
                    assert one.numpy() == pytest.approx(other.numpy(), abs=2e-4), (row, read_out)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("sides", [True, False])
def test_the_head_is_the_one_that_was_trained(fusion: str, sides: bool) -> None:
    base = mini_config()
    config: ModelConfig = dataclasses.replace(
        base,
        text=dataclasses.replace(base.text, dim=24),
        image=dataclasses.replace(base.image, dim=20),
        hidden=16,
        attention_dim=8,
        attention_heads=2,
        fusion=fusion,
        sides=sides,
        normalise=sides,
        questions=("sentiment", "sarcasm", "hateful"),
        of_pictures=("sentiment", "hateful"),
    )
    torch.manual_seed(2)
    trained = FusionHead(config).eval()
    for parameter in trained.parameters():
        parameter.requires_grad_(False).copy_(torch.randn_like(parameter))
    images = torch.tensor([[True, True], [True, False], [False, False], [False, False]])
    tokens = torch.tensor([[True, True, True], [False] * 3, [True, False, False], [False] * 3])
    features = Features(
        text=torch.randn(4, 24),
        has_text=torch.tensor([True, False, True, False]),
        image=torch.randn(4, 2, 20),
        image_mask=images,
        tokens=torch.randn(4, 3, 24),
        token_mask=tokens,
        regions=torch.randn(4, 2, 5, 20),
        foreign=torch.randn(4, 3),
        is_foreign=torch.tensor([True, False, False, False]),
    )
    with torch.inference_mode():
        expected = trained(features)
    head = Head(
        config, {name: value.detach().numpy() for name, value in trained.state_dict().items()}
    )
    found = head(Features(*(each.numpy() for each in features if each is not None)))
    there = {"fused": range(4), "text_alone": (0, 2), "image_alone": (0, 1)}
    for read_out, by_question in found.items():
        assert by_question.keys() >= expected[read_out].keys()
        for question, logits in expected[read_out].items():
            for row in there[read_out]:
                assert by_question[question][row] == pytest.approx(logits[row].numpy(), abs=1e-4), (
                    read_out,
                    question,
                    row,
                )


SERVED = Path(__file__).parent / "served_without_torch.py"


def test_serving_checking_and_moderating_need_none_of_the_libraries_that_train(
    tmp_path: Path,
) -> None:
    """Judging posts with pictures, both explanations, a challenger, `deadpan check`, `deadpan
    --help`, the console: in a process where torch and its companions cannot be imported."""
    with_everything(tmp_path / "everything")
    settings = {
        "source": f"file:{DEMO / 'posts.jsonl'}",
        "challenger": str(tmp_path / "everything"),
        "cache_dir": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, str(SERVED), str(DEMO / "images" / "flooded_kitchen.jpg")],
        capture_output=True,
        text=True,
        env=environment(**settings),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "served by openvino on cpu; of them, imported: []"


def test_what_only_torch_can_run_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = bert_resnet50_config(
        text=str(save_text(tmp_path / "text")), image=str(save_resnet(tmp_path / "image"))
    )
    assert "pictures are read by resnet50" in graphs.why_not(config)
    other = dataclasses.replace(
        mini_config(),
        text=dataclasses.replace(config.text, location=str(save_text(tmp_path / "r", "roberta"))),
    )
    assert "which is no plain BERT" in graphs.why_not(other)
    info = dataclasses.replace(checkpoints.read_info("mini"), config=config)
    for gone in ("torch", "models.checkpoint.loading", "models.engines.conversion"):
        monkeypatch.setitem(sys.modules, gone, None)
    for engine in ("auto", "openvino", "torch"):
        with pytest.raises(ModelError, match=r"needs torch, for its pictures .*deadpan\[gpu\]"):
            choose.open_engine(info, engine=engine, device="cpu")
    with pytest.raises(ModelError, match=r"torch is not installed; .*deadpan\[gpu\]"):
        choose.choose_device("cuda")
    assert choose.choose_device("auto") == "cpu"
    monkeypatch.setattr(choose, "version", lambda: "")
    with pytest.raises(ModelError, match=r"for OpenVINO is not installed here; .*deadpan\[gpu\]"):
        choose.open_engine(checkpoints.read_info("mini"), engine="auto", device="cpu")


def test_a_graph_with_a_tensor_missing_is_an_error_and_no_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors = own_tensors(mini_config())
    del tensors["image.bn1.bias"]
    monkeypatch.setattr(loading, "load_encoders", lambda checkpoint: tensors)
    with pytest.raises(ModelError, match=r"cannot express mini.*bn1\.bias"):
        loading.load_engine(checkpoints.read_info("mini"), cache_dir=None)


def test_weights_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32)
    tensors = OrderedDict(
        turned=whole.view(2, 3, 4).permute(2, 0, 1),
        shared=whole[5:9],
        one=torch.tensor(3, dtype=torch.int64),
        none=torch.zeros(0, 3),
        half=torch.ones(3, dtype=torch.float16),
    )
    path = tmp_path / "weights.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    found = read_state_dict(path)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert found[name].tolist() == tensor.tolist()
        assert found[name].shape == tensor.shape
    content = path.read_bytes()
    for cut in (0, 10, 300, len(content) - 3):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match="weights"):
            read_state_dict(path)
    torch.save(tensors, path)
    with pytest.raises(ValueError, match=r"weights\.pth"):
        read_state_dict(path)


class _Program:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (eval, ("open('ran', 'w')",)),
        (__import__("os").system, ("touch ran",)),
        (torch._utils._rebuild_tensor_v2, ("no storage", 0, (1,), (1,), False, OrderedDict())),
        (OrderedDict, (3,)),
    ],
)
def test_weights_that_are_a_program_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"a": _Program(*call)}, [])
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    with pytest.raises(ValueError, match="weights"):
        read_state_dict(path)
    assert not (tmp_path / "ran").exists()


def test_a_tensor_cannot_reach_beyond_its_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(
        OrderedDict(a=torch.arange(6.0).view(2, 3)), path, _use_new_zipfile_serialization=False
    )
    content = path.read_bytes()
    # the shape (2, 3) of the pickle as (9, 3)
    altered = content.replace(b"K\x02K\x03\x86", b"K\x09K\x03\x86", 1)
    assert altered != content
    path.write_bytes(altered)
    with pytest.raises(ValueError, match="a reaches beyond its numbers"):
        read_state_dict(path)
