"""What a detector costs: reading its feature and scoring it, as the stages measured."""

from madkit.figures.results.results import Results


def milliseconds(results: Results) -> dict[tuple[str, str, str, str], float]:
    """Milliseconds a prompt by model, dataset, feature and score, where both parts were measured on one device.

    Features that were made of stored activations cost as much as they and the head together, which nobody measured.
    """
    table = results.costs
    features = table[table["score"] == ""].set_index(["model", "dataset", "feature"])
    found = {}
    for row in table[table["score"] != ""].itertuples():
        key = (str(row.model), str(row.dataset), str(row.feature))
        if key not in features.index:
            continue
        reading = features.loc[[key]].iloc[0]
        if reading["device"] == row.device:
            seconds = reading["seconds_per_prompt"] + row.seconds_per_prompt
            found[str(row.model), str(row.dataset), str(row.feature), str(row.score)] = 1000 * float(seconds)
    return found
