"""What each stage has to leave, to the bit, whatever happened to it before."""

from campaign.case import Continues

FITTED = Continues("fitted", "adapter/adapter_model.safetensors", "fit.json", "history.parquet", exist=("fit.yaml",))
PREDICTED = Continues("predicted", "features/**/*", "controls/**/*", exist=("predict.json", "predict.yaml"))
TESTED = Continues(
    "tested", "detection/*.parquet", "detection/detectors/**/*", exist=("detection/summary.json", "test.yaml")
)
