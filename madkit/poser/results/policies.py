"""What models were trained to do: several of one policy say less about others than as many of different policies."""

from collections.abc import Sequence

#: Policies of each side from which other policies can be judged.
LEAST_POLICIES = 3


def policy_of(model: str) -> str:
    """A model's policy: its name without the number at the end that tells the models of one policy apart.

    Example:
        >>> policy_of("truth_teller-5"), policy_of("mine")
        ('truth_teller', 'mine')
    """
    policy, _, number = model.rpartition("-")
    return policy if policy and number.isdecimal() else model


def units_of(models: Sequence[str]) -> list[str]:
    """What an interval takes for independent: each model's policy, or the model itself where policies are too few.

    The benchmark's 36 models are six of each of six policies, and six that tell the truth are alike in more than being
    aligned. Where a side has fewer than `LEAST_POLICIES`, as the family that madkit trains has one, nothing says how
    much policies matter: then an interval is about other models of these policies.

    Args:
        models: the models of one side; repeated where they take part in several comparisons.

    Example:
        >>> units_of(["aligned-0", "aligned-1"]), units_of(["saint-0", "saint-1", "genie-0", "truth-0"])
        (['aligned-0', 'aligned-1'], ['saint', 'saint', 'genie', 'truth'])
    """
    policies = [policy_of(model) for model in models]
    return policies if len(set(policies)) >= LEAST_POLICIES else list(models)
