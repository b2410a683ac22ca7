"""A program for a test: serve as on a machine where only `pip install deadpan` was done."""

from __future__ import annotations

import sys
from pathlib import Path

ABSENT = {
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "accelerate",
    "peft",
    "sentence_transformers",
}


def main() -> None:
    from typer.testing import CliRunner

    import console.app
    import worker.app
    import worker.runtime
    from deadpan.cli import app
    from deadpan.core.settings import load
    from models.serving.explain import explain
    from worker.model import load_challenger, load_classifier

    assert console.app
    assert worker.app
    assert worker.runtime

    settings = load()
    classifier = load_classifier(settings)
    challenger = load_challenger(settings, classifier)
    assert challenger is not None
    picture = Path(sys.argv[1]).read_bytes()
    for model in (classifier, challenger):
        posts = [
            model.prepare("living my best life", [picture, picture]),
            model.prepare("das ist ja ganz wunderbar", [], "de"),
            model.prepare("", [picture]),
            model.prepare("so sad about the news today " * 30, []),
            model.prepare("", []),
        ]
        judged = model.predict(posts)
        assert [bool(one.image_alone) for one in judged] == [True, False, True, False, False]
        names = ["sentiment.negative"] * len(posts)
        exact = explain(model, posts, names, predictions=judged)
        assert exact[0] is not None
        assert exact[0].method == "occlusion"
        assert any(abs(one.effect) > 0.001 for one in (*exact[0].words, *exact[0].regions))

    for arguments in (["--help"], ["check", "--offline"], ["classify", "--text", "so glad"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, (arguments, done.output, done.exception)

    done = CliRunner().invoke(app, ["train", "--data", "anywhere"])
    assert "pip install 'deadpan[train]'" in str(done.exception), done.exception

    info = classifier.info
    found = [name for name in sorted(ABSENT) if sys.modules[name] is not None]
    print(f"served by {info.engine} on {info.device}; of them, imported: {found}")


# None makes every import of it an ImportError, and nobody finds it
sys.modules |= dict.fromkeys(ABSENT)  # type: ignore[arg-type]
main()
