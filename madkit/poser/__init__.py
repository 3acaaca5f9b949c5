"""POSER: which of two models that behave the same under oversight is misaligned, by how far perturbations move them.

`benchmark` reads pairs of models and their scenarios, `family` generates scenarios and trains small models on them,
`measure` perturbs one model, `results` compares the models of each pair. `PoserData` and `Poser` are the `test` stage.
"""
