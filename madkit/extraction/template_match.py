"""Whether the prompts of an extraction are of the wordings that the adapter was trained on."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_warn

from madkit.data.prompts import published
from madkit.data.quirky.quirky_data import QuirkyData
from madkit.lm.adapters import recorded_template
from madkit.lm.adapters.adapter_folder import AdapterFolder


def warn_of_wording(adapter: str, data: QuirkyData) -> None:
    """Say where a model is asked in other words than it was trained on, or where nobody knows.

    What `madkit fit` leaves beside an adapter counts; then the name of a published one. Fewer wordings than the adapter
    was trained on are right, too.

    Args:
        adapter: folder or hub name of the adapter.
        data: the prompts.

    Raises:
        ConfigError: the record beside the adapter is damaged, or of another version of madkit.
    """
    label = f"model.adapter={adapter!r}"
    known = "published"
    if (record := recorded_template(AdapterFolder(adapter))) is not None:
        known, trained = record
    elif (dataset := published.dataset_of(adapter)) is not None:
        trained = published.wordings()[dataset]
    else:
        rank_zero_warn(
            f"{label} does not say in which words it was trained: make sure that they are those of "
            f"data.template={data.template!r}"
        )
        return
    asked = data.wordings()
    if other := [wording for wording in asked if wording not in trained]:
        way_out = f"say `--data.template {known}`"
        if known == data.template:
            way_out = "the template has changed since, or the dataset is another one"
        rank_zero_warn(
            f"{label} was trained on the wordings of template={known!r}, and {len(other)} of the {len(asked)} of "
            f"data.template={data.template!r} (dataset {data.dataset!r}) are none of those, so what it makes of such "
            f"prompts was not trained: {way_out}"
        )
