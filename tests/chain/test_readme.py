"""The scripts that README.md shows are what there is."""

import pytest

from alithis_ape import cli as plugin
from helpers.readme import assert_shown_as_it_is, commands
from scripts import demo, deploy, digits, mint_dataset, mint_model, registry, speeches

SCRIPTS = {
    "demo": demo.cli,
    "deploy": deploy.cli,
    "digits": digits.cli,
    "mint_dataset": mint_dataset.cli,
    "mint_model": mint_model.cli,
    "registry": registry.cli,
    "speeches": speeches.cli,
}


@pytest.mark.parametrize("words", commands("ape"))
def test_each_script_shown_exists_with_the_options_shown(words):
    if words[1] == "run":
        assert_shown_as_it_is(SCRIPTS[words[2]], words[3:])
    else:
        assert words[1] == "alithis"
        assert_shown_as_it_is(plugin.cli, words[2:])
