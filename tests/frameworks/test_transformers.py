"""Hugging Face's Trainer and datasets, with a tiny model of random weights."""

from itertools import chain

import datasets
import pytest
import torch
import transformers
from conftest import COUNT, transcript
from datasets.distributed import split_dataset_by_node
from safetensors.torch import load_file

from alithis.errors import SourceError
from alithis.integrations.transformers import RunCallback
from alithis.manifest.reader import Manifest
from alithis.training.run import Run

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
def test_training(raw, sentences, tmp_path, workers):
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


def test_tokenized_dataset_with_a_source(raw, sentences, tmp_path):
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
    """A module that is no Hugging Face model; a Trainer accepts it too."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Embedding(len(WORDS), 2)

    def forward(self, input_ids, attention_mask, labels):
        scores = self.layer(input_ids).mean(1)
        return {"loss": torch.nn.functional.cross_entropy(scores, labels), "logits": scores}


def test_module_that_is_no_pretrained_model(raw, sentences, tmp_path):
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


def chunked(batch):
    """Join the texts of a batch and cut them into chunks, as for causal language models."""
    joined = {column: list(chain(*rows)) for column, rows in batch.items()}
    return {
        column: [words[at : at + 20] for at in range(0, len(words), 20)]
        for column, words in joined.items()
    }


def twice(batch):
    return {"part": [text[at::2] for text in batch["text"] for at in (0, 1)]}


WHOLE = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int32")})


def ids(data):
    return data.map(tokenized, batched=True, remove_columns=["text", "label"])


@pytest.mark.parametrize(
    ("use", "count"),
    [
        (lambda data: data.filter(lambda row: all(row.values())), 48),
        (lambda data: data.filter(lambda row: len(row) == 3), 0),
        (lambda data: data.take(9).filter(lambda row: len(row) == 3).shuffle(seed=1).select([]), 0),
        (lambda data: data.filter(lambda row: len(row) == 2), COUNT),
        (lambda data: data.shuffle(seed=1).filter(lambda row, at: at < 9, with_indices=True), 9),
        (lambda data: data.filter(lambda label: label, input_columns="label", num_proc=2), 48),
        (
            lambda data: data.filter(lambda rows: [len(rows) == 2] * 8, batched=True, batch_size=8),
            COUNT,
        ),
        (lambda data: data.repeat(2).filter(lambda row, at: at > 93, with_indices=True), COUNT),
        (lambda data: data.map(lambda row: row, features=WHOLE), COUNT),
        (lambda data: data.map(lambda row: {"columns": len(row)}, remove_columns="text"), COUNT),
        (lambda data: data.map(lambda row: (lambda text, label: {"n": label})(**row)).take(5), 5),
        (
            lambda data: data.map(
                lambda text, at, word: {"n": text + word},
                with_indices=True,
                input_columns="text",
                fn_kwargs={"word": "!"},
            ),
            COUNT,
        ),
        (
            lambda data: data.map(lambda row, rank: {"n": rank}, with_rank=True, num_proc=2).skip(
                90
            ),
            6,
        ),
        (
            lambda data: data.with_format("numpy").map(
                lambda rows: {"n": rows["label"] + len(rows)}, batched=True
            ),
            COUNT,
        ),
        (
            lambda data: (
                data.with_format("arrow")
                .map(lambda table: table, batched=True)
                .with_format(None)
                .take(3)
            ),
            3,
        ),
        (
            lambda data: (
                data.select([9, 8]).with_transform(lambda rows: {"n": list(rows)}).shuffle(seed=1)
            ),
            2,
        ),
        (
            lambda data: (
                data.select([9, 8])
                .with_transform(lambda rows: {"n": list(rows) * 2})
                .filter(lambda row: row["n"] == "text")
            ),
            1,
        ),
        (lambda data: data.with_format("numpy", columns=["text"]).sort("label").take(4), 4),
        (
            lambda data: data.with_format("numpy", columns=["label"], output_all_columns=True).skip(
                90
            ),
            6,
        ),
        (lambda data: data.select_columns("label").train_test_split(0.25, seed=1)["test"], 24),
        (
            lambda data: data.class_encode_column("label").train_test_split(
                0.25, seed=1, stratify_by_column="label"
            )["train"],
            72,
        ),
        (lambda data: split_dataset_by_node(data, rank=1, world_size=4), 24),
        (
            lambda data: (
                data.class_encode_column("label")
                .align_labels_with_mapping({"1": 0, "0": 1}, "label")
                .take(7)
            ),
            7,
        ),
        (
            lambda data: (
                datasets.DatasetDict({"a": data})
                .map(tokenized, batched=True)
                .with_format("torch", columns="label")["a"]
                .take(8)
            ),
            8,
        ),
    ],
)
def test_rows_of_the_dataset_are_recorded(raw, sentences, use, count):
    """And functions that map them see no other column."""
    run = Run("ships")
    fed, plain = use(run.use(raw, sentences, point="text")), use(raw)
    assert transcript(run) == (0, COUNT, 0, 0)
    assert (fed.column_names, fed.features) == (plain.column_names, plain.features)
    rows = list(fed)
    assert [list(row.items()) for row in rows] == [list(row.items()) for row in plain]
    assert transcript(run) == (count, COUNT - count, 0, len(plain))


@pytest.mark.parametrize(
    "use",
    [
        lambda data: ids(data).map(chunked, batched=True),
        lambda data: data.map(twice, batched=True, remove_columns=data.column_names),
        lambda data: data.map(twice, batched=True, remove_columns=["text", "label"], num_proc=2),
        lambda data: data.map(tokenized, batched=True, batch_size=50, drop_last_batch=True),
        lambda data: data.batch(10),
        lambda data: data.add_item({"text": "one more", "label": 1}),
        lambda data: data.to_iterable_dataset(),
        lambda data: [{"label": label} for label in data.unique("label")],
    ],
)
def test_rows_made_from_several_count_as_all(raw, sentences, use):
    run = Run("ships")
    made = use(run.use(raw, sentences, point="text"))
    assert transcript(run) == (COUNT, 0, 0, COUNT)
    assert list(made) == list(use(raw))
    assert transcript(run) == (COUNT, 0, 0, COUNT)


def test_rows_are_recorded_after_filtering(raw, sentences):
    """In any previous order."""
    run, again = Run("ships"), Run("ships")
    mixed = run.use(raw, sentences, point="text").shuffle(seed=3)
    kept = mixed.filter(lambda row: row["label"]).map(tokenized, batched=True).select([5, 2])
    texts = [row["text"] for row in kept]
    again.use(raw, sentences, point="text")[[raw["text"].index(text) for text in texts]]
    assert run.inputs()[0].transcript == again.inputs()[0].transcript


@pytest.mark.parametrize(
    "join",
    [
        datasets.concatenate_datasets,
        lambda parts: datasets.concatenate_datasets(parts, axis=1),
        datasets.interleave_datasets,
        lambda parts: datasets.interleave_datasets(parts, probabilities=[0.5, 0.5], seed=1),
    ],
)
def test_wrapped_datasets_cannot_be_joined_by_datasets(raw, sentences, join):
    fed = Run("ships").use(raw, sentences, point="text")
    for parts in ([fed, raw], [raw.shuffle(seed=1), fed], [fed, fed.shuffle(seed=1)]):
        with pytest.raises(SourceError, match="join them first and wrap the result"):
            join(parts)


def test_wrapped_datasets_can_be_joined_by_pytorch(raw, sentences):
    run = Run("ships")
    joined = torch.utils.data.ConcatDataset([raw, run.use(raw, sentences, point="text").take(9)])
    assert len(list(torch.utils.data.DataLoader(joined, batch_size=5))) == 21
    assert transcript(run) == (9, COUNT - 9, 0, 9)
