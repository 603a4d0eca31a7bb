"""The whole workflow as a newcomer runs it: `ape run …`, each command in its own process."""

from helpers.scripts import run_script
from scripts import demo


def test_the_demo_proves_a_training_image_included_and_a_drawing_absent(tmp_path):
    result = run_script("demo", "--store", str(tmp_path))

    assert result.returncode == 0, result.stderr
    included, _, absent = result.stdout.partition("build/demo/drawing.png")
    assert "mnist-train (token 1): included" in included
    assert f"{demo.INCLUDED}, canonical form pixels" in included
    assert "model mnist-softmax (token 3): trained_on, stated by its publisher" in included
    assert "mnist-train (token 1): absent" in absent
    assert "mnist-test (token 2): absent" in absent
    assert "trained_on mnist-train: 60,000 of its data points fed, 0 not, 0 foreign" in included


def test_mint_dataset_without_arguments_mints_the_sample(tmp_path):
    result = run_script("mint_dataset", "--store", str(tmp_path))

    assert result.returncode == 0, result.stderr
    assert "mint the dataset mnist-train on filecoin:local:test" in result.stdout
    assert "token 1" in result.stdout
