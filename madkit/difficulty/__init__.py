"""How hard a question is for language models that were never tuned on it.

The difficulty of a question is the mean over models of their loss on its true answer,

    difficulty(q) = mean_m softplus(-s(q) * lambda_m(q)),   s = +1 if the answer is true, else -1,
    lambda_m(q) = ln p_m(true choice | prompt) - ln p_m(false choice | prompt),

in nats: the two-way cross-entropy between the two choices, ln 2 where a model has no idea. A choice's probability is
that of all its tokens, one after another, in the context of the prompt, and not of the first token alone. The truth is
the question's ``alice_label``; the quirk plays no part, and neither does the speaker: the prompt names nobody, and the
two records of a question get the same difficulty.

This is how the code behind arXiv 2312.01037 judged the questions of the public ``quirky_sciq``, ``quirky_nli`` and
``quirky_sentiment`` sets, with Pythia 160m, 410m, 1b, 1.4b, 2.8b, 6.9b and 12b in the format their weights are stored
in: prompts without a name, cut on the left at the model's context, and for nli and sentiment five demonstrations before
the question, balanced between the answers (its code builds them for SciQ too, and then leaves them out). Differences
that remain: the published loss of SciQ compares the right answer with a wrong one as continuations of the question, so
that both statements about it share a difficulty, while here each statement is judged by itself, as in the prompts that
quirky models see; answers are cut into tokens behind the prompt, not apart from it; demonstrations come from the train
split and stay in it; and the published ``difficulty_quantile`` is another order statistic, here it is rank/n over all
splits.
"""

from madkit.difficulty.data import QuestionData
from madkit.difficulty.losses import AnswerLosses, LossStore
from madkit.difficulty.questions import QuestionSet, collect_questions

__all__ = ["AnswerLosses", "LossStore", "QuestionData", "QuestionSet", "collect_questions"]
