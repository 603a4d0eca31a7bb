"""PyTorch's tensors, datasets and loaders, in this process and in workers."""

import copy
import os
import pickle
import signal
import time
from collections import namedtuple

import numpy as np
import pytest
import torch
from conftest import COUNT, transcript
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from safetensors.torch import save_model as plain_save_model
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
    random_split,
)

from alithis.errors import SourceError
from alithis.integrations import torch as adapter
from alithis.training.run import Run
from alithis.training.wrappers.hasher import ItemHasher

BATCH = 16


class Pictures(Dataset):
    """A map-style dataset."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, at):
        if at >= len(self):
            raise IndexError(at)
        return torch.from_numpy(self.images[at]), int(self.labels[at])


class Batches(Pictures):
    """One that gives whole batches, as Hugging Face's do."""

    def __getitems__(self, numbers):
        return [self[at] for at in numbers]


class Floats(Pictures):
    """One that gives what was made of the pictures."""

    def __getitem__(self, at):
        image, label = super().__getitem__(at)
        return image / 255, label


class Stream(IterableDataset):
    """An iterable dataset that its workers share out."""

    def __init__(self, images):
        self.images = images

    def __iter__(self):
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for at in range(first, len(self.images), step):
            yield torch.from_numpy(self.images[at]), at


class Fatal(Pictures):
    """One whose worker is killed when it reads picture 50."""

    def __getitem__(self, at):
        if at == 50:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(at)


@pytest.fixture
def pictures(images, labels):
    return Pictures(images, labels)


def workers(count, context=None):
    options = {"persistent_workers": True, "multiprocessing_context": context} if count else {}
    return {"batch_size": BATCH, "num_workers": count, **options}


WORKERS = pytest.mark.parametrize("workers", [workers(0), workers(2)], ids=["none", "forked"])


class TestDataset:
    def test_it_is_what_it_was(self, pictures, pixels):
        fed = Run("r").use(pictures, pixels)
        assert isinstance(fed, Dataset)
        assert isinstance(fed, Pictures)
        assert len(fed) == COUNT
        assert fed.labels is pictures.labels
        fed.labels = [1]
        assert pictures.labels == [1]

    def test_items_that_are_given_are_noted(self, pictures, pixels, images):
        run = Run("r")
        fed = run.use(pictures, pixels)
        image, label = fed[5]
        assert (image.numpy() == images[5]).all()
        assert label == 0
        fed[-1], fed[5]
        assert transcript(run) == (2, COUNT - 2, 0, 3)

    @WORKERS
    @pytest.mark.parametrize("kind", [Pictures, Batches])
    def test_several_epochs(self, images, labels, pixels, workers, kind):
        run = Run("r")
        loader = DataLoader(run.use(kind(images, labels), pixels), shuffle=True, **workers)
        for _ in range(3):
            assert sum(len(batch) for batch, _ in loader) == COUNT
        assert transcript(run) == (COUNT, 0, 0, 3 * COUNT)

    @WORKERS
    def test_made_from_a_source(self, images, labels, pixels, workers):
        run = Run("r")
        fed = run.use(Floats(images, labels), pixels, source=images)
        for _ in range(2):
            list(DataLoader(fed, sampler=range(40), **workers))
        assert transcript(run) == (40, COUNT - 40, 0, 80)

    def test_what_was_made_of_a_picture_is_no_picture(self, images, labels, pixels):
        fed = Run("r").use(Floats(images, labels), pixels)
        with pytest.raises(
            SourceError, match=r"float32 and shape \(4, 4\) is not an image.*source="
        ):
            fed[0]

    def test_splits_subsets_and_sums(self, pictures, pixels):
        run = Run("r")
        fed = run.use(pictures, pixels)
        first, _ = random_split(fed, [30, COUNT - 30])
        list(first)
        assert transcript(run) == (30, COUNT - 30, 0, 30)
        both = fed + Subset(pictures, [0])
        assert isinstance(both, ConcatDataset)
        assert len(both) == COUNT + 1
        both[COUNT]
        assert transcript(run)[3] == 30
        both[0]
        assert transcript(run)[3] == 31

    def test_ranks_of_a_distributed_sampler(self, pictures, pixels):
        run = Run("r")
        fed = run.use(pictures, pixels)
        for rank in range(4):
            sampler = DistributedSampler(fed, num_replicas=4, rank=rank)
            sampler.set_epoch(1)
            list(DataLoader(fed, sampler=sampler, batch_size=BATCH))
            assert transcript(run)[3] == (rank + 1) * COUNT // 4
        assert transcript(run) == (COUNT, 0, 0, COUNT)

    def test_pickled(self, pictures, pixels):
        run = Run("r")
        again = pickle.loads(pickle.dumps(run.use(pictures, pixels)))
        assert isinstance(again, Pictures)
        again[3]
        assert transcript(run) == (1, COUNT - 1, 0, 1)

    def test_of_a_worker_that_is_killed_what_it_gave_stays(self, images, labels, pixels):
        run = Run("r")
        fed = run.use(Fatal(images, labels), pixels)
        with pytest.raises(RuntimeError, match="worker"):
            list(DataLoader(fed, batch_size=10, num_workers=1))
        assert transcript(run) == (50, COUNT - 50, 0, 50)

    def test_pictures_changed_meanwhile_are_foreign(self, labels, pixels, images):
        run, own = Run("r"), images.copy()
        fed = run.use(Pictures(own, labels), pixels)
        fed[0]
        own[0] ^= 255
        fed[0]
        assert transcript(run) == (1, COUNT - 1, 1, 2)


class TestLoader:
    def test_it_is_what_it_was(self, pictures, pixels):
        loader = DataLoader(pictures, batch_size=BATCH, shuffle=True)
        fed = Run("r").use(loader, pixels)
        assert isinstance(fed, DataLoader)
        assert len(fed) == COUNT // BATCH
        assert fed.sampler is loader.sampler
        assert isinstance(fed.dataset, Pictures)
        assert fed.collate_fn is default_collate

    @WORKERS
    @pytest.mark.parametrize("made", [Pictures, Batches, Stream])
    def test_a_loop_that_stops_early(self, images, labels, pixels, workers, made):
        """Workers are batches ahead by then: these were not fed."""
        run = Run("r")
        data = made(images) if made is Stream else made(images, labels)
        loader = run.use(DataLoader(data, **workers), pixels)
        for number, _ in enumerate(loader, 1):
            if number == 2:
                break
        assert transcript(run) == (2 * BATCH, COUNT - 2 * BATCH, 0, 2 * BATCH)
        assert sum(len(batch) for batch, _ in loader) == COUNT
        assert transcript(run) == (COUNT, 0, 0, COUNT + 2 * BATCH)

    @WORKERS
    def test_made_from_a_source(self, images, labels, pixels, workers):
        run = Run("r")
        loader = DataLoader(Floats(images, labels), shuffle=True, **workers)
        fed = run.use(loader, pixels, source=images)
        for _ in range(2):
            next(iter(fed))
        assert transcript(run)[2:] == (0, 2 * BATCH)

    @WORKERS
    def test_a_row_is_digested_once(self, images, labels, pixels, workers, monkeypatch):
        digested, plain = [], ItemHasher.rows
        monkeypatch.setattr(
            ItemHasher, "rows", lambda self, rows: digested.extend(rows) or plain(self, rows)
        )
        run = Run("r")
        data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
        loader = run.use(DataLoader(data, shuffle=True, **workers), pixels)
        digested.clear()
        for _ in range(3):
            assert sum(len(batch) for batch, _ in loader) == COUNT
        assert transcript(run) == (COUNT, 0, 0, 3 * COUNT)
        assert len(digested) == COUNT

    @WORKERS
    def test_a_batch_that_fails_was_not_given(self, images, labels, pixels, workers):
        def collate(items):
            if (items[0][0] == images[BATCH]).all():
                raise ValueError("no batch of these")
            return default_collate(items)

        run = Run("r")
        loader = DataLoader(Pictures(images, labels), **workers, collate_fn=collate)
        for _ in range(2):
            arrived, batches = 0, iter(run.use(loader, pixels))
            while True:
                try:
                    arrived += len(next(batches)[0])
                except ValueError:
                    continue
                except StopIteration:
                    break
            assert arrived == COUNT - BATCH
        assert transcript(run) == (COUNT - BATCH, BATCH, 0, 2 * (COUNT - BATCH))

    @WORKERS
    def test_a_tail_that_is_dropped_was_not_given(self, images, pixels, workers):
        run, options = Run("r"), workers | {"batch_size": BATCH - 1}
        loader = run.use(DataLoader(Stream(images), **options, drop_last=True), pixels)
        arrived = [len(batch) for _ in range(2) for batch, _ in loader]
        assert COUNT < sum(arrived) < 2 * COUNT
        assert transcript(run)[2:] == (0, sum(arrived))

    def test_a_sampler_of_iterators(self, images, labels, pixels):
        run = Run("r")
        data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
        sampler = [iter(range(at, at + 4)) for at in (0, 4)]
        list(run.use(DataLoader(data, batch_sampler=sampler), pixels))
        assert transcript(run) == (8, COUNT - 8, 0, 8)

    @pytest.mark.parametrize("key", [torch.tensor([1, 2]), np.array([1, 2]), torch.tensor(1)])
    def test_arrays_pick_rows_of_a_dataset(self, images, labels, pixels, key):
        run = Run("r")
        data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
        assert (run.use(data, pixels)[key][0] == data[key][0]).all()
        count = len(key) if key.ndim else 1
        assert transcript(run) == (count, COUNT - count, 0, count)

    def test_without_batches(self, pictures, pixels):
        run = Run("r")
        fed = run.use(DataLoader(pictures, batch_size=None), pixels)
        assert next(iter(fed))[0].shape == (4, 4)
        assert transcript(run) == (1, COUNT - 1, 0, 1)

    def test_one_that_a_framework_makes_anew_notes_too(self, pictures, pixels):
        run = Run("r")
        fed = run.use(DataLoader(pictures, batch_size=BATCH), pixels)
        list(type(fed)(fed.dataset, batch_size=BATCH))
        assert transcript(run) == (COUNT, 0, 0, COUNT)

    def test_pinned_batches_carry_their_digests(self, monkeypatch):
        from alithis.training.wrappers.loaders import _Carried

        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, device=None: self + 1)
        pinned = _Carried((torch.zeros(2), 7), b"digests", 3, [4, 5]).pin_memory()
        assert pinned.batch[0].tolist() == [1, 1]
        assert (pinned.batch[1], pinned.digests, pinned.given) == (7, b"digests", 3)
        assert pinned.numbers == [4, 5]


class TestTensor:
    @WORKERS
    def test_in_a_tensor_dataset(self, images, labels, pixels, workers):
        run = Run("r")
        fed = run.use(torch.from_numpy(images), pixels)
        data = TensorDataset(fed, torch.from_numpy(labels))
        assert transcript(run) == (0, COUNT, 0, 0)
        for _ in range(2):
            list(DataLoader(data, sampler=range(50), **workers))
        assert transcript(run) == (50, COUNT - 50, 0, 100)

    @pytest.mark.parametrize(
        ("key", "count"),
        [
            (slice(0, 5), 5),
            (torch.tensor([1, 1, 7]), 3),
            (torch.arange(COUNT) < 4, 4),
            (3, 1),
            ((slice(0, 2), 1), 2),
            (..., COUNT),
            (torch.tensor([0] * (COUNT - 2) + [1] * 2, dtype=torch.uint8), 2),
            (np.array([1] * 3 + [0] * (COUNT - 3), np.uint8), 3),
            (torch.tensor(True), COUNT),
            (torch.tensor(False), 0),
            ((torch.tensor([5, 6]), torch.tensor([0, 1])), 2),
            ([np.int64(4), 4], 2),
            ([[1, 2], [0, 2]], 2),
            ([slice(0, 2), 1], 2),
            ([], 0),
        ],
        ids=str,
    )
    @pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8:UserWarning")
    @pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
    def test_keys(self, images, pixels, key, count):
        run, tensor = Run("r"), torch.from_numpy(images)
        given = run.use(tensor, pixels)[key]
        assert torch.equal(given, tensor[key])
        rows = torch.arange(COUNT)[:, None, None].expand(tensor.shape)[key].unique()
        assert transcript(run)[0] == len(rows)
        assert transcript(run)[3] == count

    @pytest.mark.parametrize(
        "use",
        [
            torch.relu,
            torch.numel,
            torch.tensor,
            torch.vmap(lambda row: row + 1),
            lambda t: torch.as_tensor(t).double(),
            lambda t: t.type(torch.float64),
            lambda t: torch.stack(namedtuple("Two", "a b")(t, t)),
            lambda t: torch.cat([t, t]),
            lambda t: torch.stack((t[0], *t[1:])),
            lambda t: torch.nn.functional.conv2d(t[:, None] / 255, torch.ones(1, 1, 3, 3)),
            lambda t: torch.where(t > 7, t, torch.zeros_like(t)),
            lambda t: torch.nn.Flatten()(t).float() @ torch.ones(16, 2),
            lambda t: torch.ones(4) + t,
            lambda t: 1 - t / 255.0,
            lambda t: -t.float(),
            lambda t: t == 0,
            lambda t: t != t,
            lambda t: t.T if t.ndim == 2 else t.mT,
            lambda t: torch.einsum("nij->n", t.float()),
            lambda t: t.split(50)[1],
            lambda t: torch.from_numpy(np.asarray(t)),
            lambda t: torch.from_dlpack(t),
            lambda t: t.clone().add_(1),
            lambda t: torch.stack(list(t)),
            lambda t: copy.deepcopy(t),
        ],
    )
    def test_it_computes_as_a_tensor_does(self, images, pixels, use):
        run, tensor = Run("r"), torch.from_numpy(images)
        fed = run.use(tensor, pixels)
        assert isinstance(fed, torch.Tensor)
        given, expected = use(fed), use(tensor)
        assert type(given) is type(expected)
        assert given == expected if isinstance(given, int) else torch.equal(given, expected)
        assert transcript(run)[0] == (0 if use is torch.numel else COUNT)

    def test_what_tells_of_it_takes_nothing(self, images, pixels):
        run, tensor = Run("r"), torch.from_numpy(images)
        fed = run.use(tensor, pixels)
        assert (fed.shape, fed.dtype, fed.device) == (tensor.shape, tensor.dtype, tensor.device)
        assert (len(fed), fed.size(0), fed.dim(), fed.numel()) == (COUNT, COUNT, 3, tensor.numel())
        assert repr(fed) == repr(tensor)
        assert (fed.is_contiguous(), fed.is_leaf, f"{fed}") == (True, True, f"{tensor}")
        assert (fed.type(), "T" in dir(fed)) == (tensor.type(), True)
        assert all(each is fed for each in (fed.contiguous(), fed.to("cpu"), fed.cpu()))
        before = tensor.clone()
        with pytest.raises(TypeError, match="cannot be written to"):
            fed[0] = 1
        with pytest.raises(TypeError, match="cannot be written to"):
            fed += 1
        with pytest.raises(TypeError, match="cannot be written to"):
            fed.add_(1)
        assert torch.equal(tensor, before)
        with pytest.raises(SourceError, match="already wrapped"):
            run.use(fed, pixels)
        assert transcript(run)[3] == 0

    def test_keys_without_memory(self, images, pixels):
        run, tensor = Run("r"), torch.from_numpy(images)
        fed = run.use(tensor, pixels)
        given = torch.vmap(lambda at: fed[at])(torch.tensor([0, 1]))
        assert torch.equal(given, tensor[:2])
        assert transcript(run)[0] == COUNT

    @pytest.mark.parametrize(
        "make", [torch.Tensor.to_sparse, lambda t: t.to("meta"), lambda t: t.bfloat16()]
    )
    def test_what_is_no_array(self, images, pixels, make):
        with pytest.raises(SourceError):
            Run("r").use(make(torch.from_numpy(images).float()), pixels)

    def test_rows_one_by_one(self, images, pixels):
        run = Run("r")
        for number, row in enumerate(run.use(torch.from_numpy(images), pixels)):
            assert (row.numpy() == images[number]).all()
            if number == 2:
                break
        assert transcript(run)[3] == 3

    def test_made_from_a_source(self, images, pixels):
        run = Run("r")
        fed = run.use(torch.from_numpy(images) / 255, pixels, source=images)
        assert fed[torch.tensor([3, 4])].dtype == torch.float32
        assert transcript(run) == (2, COUNT - 2, 0, 2)
        assert torch.equal(torch.relu(fed), torch.from_numpy(images) / 255)
        assert transcript(run)[:3] == (COUNT, 0, 0)

    def test_a_copy_in_another_process_notes_too(self, images, pixels):
        run = Run("r")
        fed = pickle.loads(pickle.dumps(run.use(torch.from_numpy(images), pixels)))
        assert (fed[5].numpy() == images[5]).all()
        assert transcript(run)[3] == 1

    @pytest.mark.parametrize("make", [torch.as_tensor, torch.tensor, torch.asarray])
    def test_an_array_that_becomes_a_tensor_is_taken_whole(self, images, pixels, make):
        run = Run("r")
        assert (make(run.use(images, pixels)).numpy() == images).all()
        assert transcript(run)[:3] == (COUNT, 0, 0)


def test_workers_that_are_spawned(images, labels, pixels):
    """They are sent what a forked one inherits. To start them takes seconds: one test for all."""
    run = Run("r")
    fed = run.use(Floats(images, labels), pixels, source=images)
    loader = run.use(
        DataLoader(Pictures(images, labels), **workers(1, "spawn")), pixels, "validated_on"
    )
    for _ in range(2):
        next(iter(loader))
    list(DataLoader(fed, **workers(1, "spawn")))
    assert transcript(run) == (COUNT, 0, 0, COUNT)
    assert transcript(run, 1) == (BATCH, COUNT - BATCH, 0, 2 * BATCH)


def test_channels_come_first(tmp_path):
    """As PyTorch has pictures; the manifest's form has the samples of a pixel side by side."""
    from conftest import manifest_of

    from alithis import readers

    colours = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3), "u1")
    manifest = manifest_of(readers.arrays(colours), tmp_path / "colours")
    run = Run("r")
    fed = run.use([torch.from_numpy(each).permute(2, 0, 1) for each in colours], manifest)
    assert fed[2].shape == (3, 5, 4)
    list(fed)
    assert transcript(run) == (6, 0, 0, 7)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_set_on_a_loader_later(pictures, pixels, workers):
    """As Lightning sets a function that seeds the workers."""
    run = Run("r")
    loader = run.use(DataLoader(pictures, batch_size=16, num_workers=workers), pixels)
    loader.collate_fn = len
    assert sum(loader) == COUNT
    assert transcript(run) == (COUNT, 0, 0, COUNT)
    with pytest.raises(ValueError, match="batch_size attribute should not be set"):
        loader.batch_size = 3


def test_a_real_loop(pictures, pixels, tmp_path):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    with Run("bright", out=tmp_path / "bright.alithis") as run:
        loader = run.use(DataLoader(pictures, batch_size=BATCH, shuffle=True), pixels)
        for _ in range(2):
            for images, labels in loader:
                loss = torch.nn.functional.cross_entropy(network(images / 255), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        run.log_metrics(loss=loss.detach())
        adapter.record(run, network, tmp_path / "bright.safetensors", optimizer)

    assert transcript(run) == (COUNT, 0, 0, 2 * COUNT)
    ours = run.write(tmp_path / "again").metadata.document["alithis"]
    assert ours["parameters"]["optimizer"]["lr"] == 0.01
    assert ours["environment"]["torch"] == torch.__version__
    with safe_open(tmp_path / "bright.safetensors", "np") as file:
        assert set(file.keys()) == {"1.weight", "1.bias"}


class Towers(torch.nn.Module):
    """A module, whose second layer has the first's weight where it is tied."""

    def __init__(self, tied):
        super().__init__()
        self.first, self.second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
        if tied:
            self.first.weight = self.second.weight


class Views(Towers):
    """One with buffers that are views of larger storage, and views of a parameter."""

    def __init__(self):
        super().__init__(tied=True)
        whole = torch.randn(100, 4)
        self.register_buffer("pe", whole[:10])
        self.register_buffer("overlapping", whole[5:15])
        self.register_buffer("again", self.pe)
        self.register_buffer("mask", torch.ones(1, 4).expand(3, 4))
        self.register_buffer("turned", self.second.weight.detach().T)
        self.register_buffer("flat", self.second.weight.detach().view(-1))
        for name in ("none", "nothing"):
            self.register_buffer(name, torch.empty(0))


class Extra(Towers):
    """One with state that is no tensor."""

    def get_extra_state(self):
        return {"scale": 1.5}

    def set_extra_state(self, state):
        pass


def settings(optimizer, tmp_path):
    run = Run("r")
    adapter.record(run, Towers(tied=False), tmp_path / "w.safetensors", optimizer)
    return run.facts().as_object()["parameters"]["optimizer"]


class TestRecord:
    def test_the_file_is_the_one_that_safetensors_writes(self, tmp_path):
        module = Towers(tied=False)
        module.second.to(torch.float16)
        ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
        assert adapter.save_weights(module, ours) == []
        plain_save_model(module, str(theirs))
        assert ours.read_bytes() == theirs.read_bytes()

    def test_tied_weights_stand_once_in_the_same_bytes_each_time(self, tmp_path):
        """safetensors' save_model names them in the file, in random order."""
        module, loaded = (torch.nn.Sequential(*[Towers(tied=True)] * 3) for _ in range(2))
        paths = [tmp_path / f"{at}.safetensors" for at in range(8)]
        for path in paths:
            adapter.save_weights(module, path)
        assert len({path.read_bytes() for path in paths}) == 1
        assert load_file(paths[0]).keys() == {"0.first.weight", "0.first.bias", "0.second.bias"}
        load_model(loaded, paths[0])
        assert torch.equal(loaded[2].second.weight, module[2].second.weight)

    def test_views(self, tmp_path):
        module, path = Views(), tmp_path / "w.safetensors"
        assert adapter.save_weights(module, path) == []
        stored = load_file(path)
        assert stored.keys() == module.state_dict().keys() - {"pe", "second.weight"}
        for name, tensor in stored.items():
            assert torch.equal(tensor, module.state_dict()[name])

    def test_state_that_is_no_tensor_is_named(self, tmp_path):
        run, path = Run("r"), tmp_path / "w.safetensors"
        adapter.record(run, torch.nn.Sequential(Extra(tied=False)), path)
        assert run.facts().as_object()["parameters"]["not_written"] == ["0._extra_state"]
        assert len(load_file(path)) == 4

    def test_a_compiled_module(self, tmp_path):
        plain, path, run = Towers(tied=False), tmp_path / "w.safetensors", Run("r")
        adapter.record(run, torch.compile(plain), path)
        assert run.facts().as_object()["parameters"]["model"] == "Towers"
        assert load_file(path).keys() == plain.state_dict().keys()
        adapter.save_weights(torch.nn.Sequential(torch.compile(plain)), path)
        assert load_file(path).keys() == torch.nn.Sequential(plain).state_dict().keys()

    @pytest.mark.parametrize(
        ("tensor", "place"),
        [
            (torch.zeros(2), "no/such/folder/w.safetensors"),
            (torch.zeros(2), "."),
            (torch.zeros(2, dtype=torch.complex128), "w.safetensors"),
            (torch.zeros(2, device="meta"), "w.safetensors"),
            (torch.eye(2).to_sparse(), "w.safetensors"),
        ],
    )
    def test_what_cannot_be_written(self, tmp_path, tensor, place):
        module = torch.nn.Module()
        module.register_buffer("tensor", tensor)
        with pytest.raises(SourceError, match=f"{tmp_path / place}: cannot be written: .+"):
            adapter.save_weights(module, tmp_path / place)

    def test_settings_that_the_one_group_has(self, tmp_path):
        group = {"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 0.5}
        optimizer = torch.optim.AdamW([group], lr=0.001)
        torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5)
        found = settings(optimizer, tmp_path)
        assert (found["name"], found["lr"], found["initial_lr"]) == ("AdamW", 0.25, 0.5)
        assert "params" not in found

    def test_settings_of_several_groups(self, tmp_path):
        module = Towers(tied=False)
        groups = [
            {"params": list(module.first.named_parameters()), "lr": 0.5, "name": "first"},
            {"params": list(module.second.named_parameters())},
        ]
        found = settings(torch.optim.SGD(groups, lr=0.1), tmp_path)
        assert found.keys() == {"name", "groups"}
        assert [(each.get("name"), each["lr"]) for each in found["groups"]] == [
            ("first", 0.5),
            (None, 0.1),
        ]
        assert not any({"params", "param_names"} & each.keys() for each in found["groups"])

    def test_a_group_with_a_name(self, tmp_path):
        group = {"params": [torch.nn.Parameter(torch.zeros(2))], "name": "first"}
        found = settings(torch.optim.SGD([group], lr=0.1), tmp_path)
        assert (found["name"], found["groups"][0]["name"]) == ("SGD", "first")


def test_a_compiled_module_under_the_trainer_of_transformers(tmp_path):
    from types import SimpleNamespace

    import transformers

    from alithis.integrations.transformers import RunCallback

    run, module = Run("r"), torch.compile(Extra(tied=False))
    callback = RunCallback(run, tmp_path / "model")
    arguments = transformers.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    state = SimpleNamespace(is_world_process_zero=True)
    callback.on_train_begin(arguments, state, None, model=module)
    callback.on_train_end(arguments, state, None, model=module)
    parameters = run.facts().as_object()["parameters"]
    assert (parameters["model"], parameters["not_written"]) == ("Extra", ["_extra_state"])
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert stored.keys() == {"first.weight", "first.bias", "second.weight", "second.bias"}
