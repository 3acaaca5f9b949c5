"""The sections, in the order of their worth: what is done first where time is short."""

from gpu.section import Section
from gpu.sections.cuda import CUDA
from gpu.sections.extraction import EXTRACTION
from gpu.sections.sae import SAE
from gpu.sections.scores import SCORES
from gpu.sections.smollm2 import BENIGN, SMOLLM2
from gpu.sections.tuning import TUNING
from gpu.sections.volume import VOLUME

SECTIONS: list[Section] = [CUDA, TUNING, SMOLLM2, EXTRACTION, SAE, VOLUME, SCORES, BENIGN]
