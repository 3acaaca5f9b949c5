"""Studies: many runs, each of which is a few commands, side by side and with what is there already left as it is."""

from madkit.study.detection_study import DetectionStudy
from madkit.study.dose_study import DoseStudy
from madkit.study.job_runner import JobRunner
from madkit.study.pair_study import PairStudy
from madkit.study.recipe_folder import RecipeFolder
from madkit.study.stress_study import StressStudy
from madkit.study.study_job import StudyJob

__all__ = ["DetectionStudy", "DoseStudy", "JobRunner", "PairStudy", "RecipeFolder", "StressStudy", "StudyJob"]
