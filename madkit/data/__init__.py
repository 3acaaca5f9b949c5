"""What goes in: quirky datasets, prompts, corpora, and the data modules that serve them.

`tasks` make questions with a truth and a quirk, or `tables` of a raw file do; `records` are read, completed, checked
and cached; `prompts` turn them into words and tokens; `quirky` and `pretraining` hold the data modules.
"""
