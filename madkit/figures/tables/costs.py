"""What a detector costs: reading its feature and scoring it, as the stages measured."""

from madkit.figures.results.results import Results


def milliseconds(results: Results) -> dict[tuple[str, str, str, str], float]:
    """Milliseconds a prompt by model, dataset, feature and score, where both parts were measured on one device.

    Features that were made of stored activations cost as much as reading these and applying the encoder together,
    which was not measured. Controls are left out.
    """
    table = results.costs[~results.costs["control"]]
    features = table[table["score"] == ""].set_index(["model", "dataset", "feature"])
    costs = {}
    for row in table[table["score"] != ""].itertuples():
        key = (str(row.model), str(row.dataset), str(row.feature))
        if key not in features.index:
            continue
        reading = features.loc[[key]].iloc[0]
        if reading["device"] == row.device:
            seconds = reading["seconds_per_prompt"] + row.seconds_per_prompt
            costs[(*key, str(row.score))] = 1000 * float(seconds)
    return costs
