"""Hugging Face's Trainer and datasets, with a tiny model of random weights."""

import datasets
import pytest
import torch
import transformers
from conftest import COUNT, transcript
from safetensors.torch import load_file

from alithis.adapters.transformers import RunCallback
from alithis.manifest import Manifest
from alithis.run import Run

WORDS = ["[PAD]", "[UNK]", "the", "ship", "field", "of", "number", "is", "wide"]


@pytest.fixture(scope="module")
def raw(texts):
    return datasets.Dataset.from_dict(
        {"text": texts, "label": [at % 2 for at in range(COUNT)]},
        features=datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.Value("int64")}
        ),
    )


def tokenized(batch):
    places = {word: at for at, word in enumerate(WORDS)}
    ids = [[places.get(word, 1) for word in text.split()] for text in batch["text"]]
    return {"input_ids": ids, "attention_mask": [[1] * len(each) for each in ids]}


def model():
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    return transformers.BertForSequenceClassification(config)


def arguments(folder, **options):
    return transformers.TrainingArguments(
        str(folder),
        per_device_train_batch_size=16,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        logging_steps=3,
        disable_tqdm=True,
        seed=7,
        **options,
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training(raw, sentences, tmp_path, workers):
    torch.manual_seed(0)
    with Run("ships", out=tmp_path / "ships.alithis") as run:
        rows = run.use(raw, sentences, point="text")
        train = rows.map(tokenized, batched=True, remove_columns=["text"]).shuffle(seed=1)
        trainer = transformers.Trainer(
            model=model(),
            args=arguments(tmp_path, num_train_epochs=2, dataloader_num_workers=workers),
            train_dataset=train,
            callbacks=[RunCallback(run, tmp_path / "ships")],
        )
        trainer.train()

    assert transcript(run) == (COUNT, 0, 0, 2 * COUNT)
    facts = run.facts().as_object()
    assert facts["parameters"]["model_type"] == "bert"
    assert facts["parameters"]["num_train_epochs"] == 2
    assert facts["seeds"] == {"transformers": 7}
    assert facts["metrics"]["train_loss"] > 0
    manifest = Manifest.open(tmp_path / "ships.alithis").metadata
    stored = load_file(tmp_path / "ships" / "model.safetensors")
    assert manifest.items == len(stored) + 2  # and two files
    assert (tmp_path / "ships" / "config.json").is_file()


def test_tokenized_before_it_was_wrapped(raw, sentences, tmp_path):
    run = Run("ships")
    done = raw.map(tokenized, batched=True, remove_columns=["text"])
    train = run.use(done, sentences, source=raw["text"])
    trainer = transformers.Trainer(
        model=model(), args=arguments(tmp_path, max_steps=2), train_dataset=train
    )
    trainer.train()
    seen, unseen, foreign, given = transcript(run)
    assert foreign == 0
    assert 32 <= given <= 64  # with what is fetched ahead
    assert seen + unseen == COUNT


class Linear(torch.nn.Module):
    """A module that is none of Hugging Face's, which a Trainer takes as well."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Embedding(len(WORDS), 2)

    def forward(self, input_ids, attention_mask, labels):
        scores = self.layer(input_ids).mean(1)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


def test_a_module_of_ones_own(raw, sentences, tmp_path):
    with Run("ships", out=tmp_path / "ships.alithis") as run:
        rows = run.use(raw, sentences, point="text")
        train = rows.map(tokenized, batched=True, remove_columns=["text"])
        module = Linear()
        trainer = transformers.Trainer(
            model=module,
            args=arguments(tmp_path, num_train_epochs=1),
            train_dataset=train,
            callbacks=[RunCallback(run, tmp_path / "ships")],
        )
        trainer.train()

    assert transcript(run) == (COUNT, 0, 0, COUNT)
    parameters = run.facts().as_object()["parameters"]
    assert (parameters["model"], parameters["model_type"]) == ("Linear", None)
    stored = load_file(tmp_path / "ships" / "model.safetensors")
    assert torch.equal(stored["layer.weight"], module.layer.weight)
