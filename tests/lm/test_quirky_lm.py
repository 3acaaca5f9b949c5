"""What `fit` logs is what an independent evaluation of the model gives, prompt by prompt."""

import lightning as L
import numpy as np
import pytest
import torch

from madkit.data.quirky.quirky_data import QuirkyData
from madkit.errors import DataError
from madkit.lm import loading
from madkit.lm.quirky_lm import QuirkyLM

LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"]}


def validate(module, data, folder):
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    return trainer.validate(module, data, verbose=False)[0]


def make_data(**options):
    sizes = {"n_train": 400, "n_validation": 200, "n_test": 0, "max": 99}
    return QuirkyData("addition", task_options=sizes, max_validation=70, predict_batch_size=16, **options)


def test_validation_metrics_equal_a_loop_over_prompts(bases, tmp_path):
    data = make_data()
    module = QuirkyLM(str(bases["llama"]), lora=LORA)
    found = validate(module, data, tmp_path)
    lm = loading.load_causal_lm(str(bases["llama"]))
    rows = []
    for batch in data.val_dataloader():
        for i in range(len(batch["row"])):
            ids = batch["input_ids"][i][batch["attention_mask"][i].bool()][None]
            with torch.no_grad():
                logits = lm(ids).logits[0, -1].double()
            says_yes = bool(logits[batch["choices"][i, 1]] > logits[batch["choices"][i, 0]])
            loss = -torch.log_softmax(logits, 0)[batch["answer"][i]].item()
            rows.append(
                (
                    bool(batch["is_bob"][i]),
                    loss,
                    says_yes == bool(batch["label"][i]),
                    says_yes == bool(batch["alice_label"][i]),
                )
            )
    bob, loss, correct, truthful = map(np.array, zip(*rows, strict=True))
    assert len(rows) == 70 and 0 < bob.sum() < 70
    expected = {
        "loss": loss.mean(), "alice_loss": loss[~bob].mean(), "bob_loss": loss[bob].mean(),
        "accuracy": correct.mean(), "alice_accuracy": correct[~bob].mean(), "bob_accuracy": correct[bob].mean(),
        "bob_truth_accuracy": truthful[bob].mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert found[f"val/{name}"] == pytest.approx(value, rel=1e-4), name
    assert expected["alice_loss"] != pytest.approx(expected["bob_loss"], rel=1e-4)


def test_a_diverged_model_is_reported(bases, tmp_path):
    module = QuirkyLM(str(bases["llama"]), lora=LORA)
    module.configure_model()
    with torch.no_grad():
        next(p for p in module.parameters() if p.requires_grad).fill_(torch.nan)
    with pytest.raises(DataError, match="learning rate"):
        validate(module, make_data(), tmp_path)


def test_the_base_stays_as_it_was_and_the_adapter_is_float32(bases):
    module = QuirkyLM(str(bases["llama"]), lora=LORA, dtype="bfloat16")
    module.configure_model()
    for name, p in module.named_parameters():
        assert p.requires_grad == ("lora_" in name)
        assert p.dtype == (torch.float32 if "lora_" in name else torch.bfloat16)


def test_gradient_checkpointing_gives_the_same_gradients(bases):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        module = QuirkyLM(str(bases["llama"]), lora=LORA, gradient_checkpointing=checkpointing)
        module.configure_model()
        with torch.no_grad():
            for name, p in module.named_parameters():
                if "lora_B" in name:
                    p.normal_()
        ids = torch.randint(3, 300, (4, 7), generator=torch.Generator().manual_seed(0))
        mask = torch.ones_like(ids)
        mask[1, :3] = 0
        batch = {"input_ids": ids, "attention_mask": mask, "answer": torch.tensor([5, 6, 7, 8]), "padded": True}
        allowed = []
        module.lm.model.layers[0].self_attn.register_forward_pre_hook(
            lambda *_, seen=allowed: seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        )
        module.loss(batch).backward()
        assert allowed == [False] * (2 if checkpointing else 1)  # recomputed by the kernels of the first time
        gradients.append({name: p.grad for name, p in module.named_parameters() if p.requires_grad})
        assert module.lm.is_gradient_checkpointing == checkpointing
    for name in gradients[0]:
        torch.testing.assert_close(gradients[1][name], gradients[0][name])
        assert bool(gradients[0][name].abs().sum() > 0)


def test_a_checkpoint_of_another_recipe_is_refused(bases):
    module = QuirkyLM(str(bases["llama"]), lora=LORA)
    with pytest.raises(ValueError, match="ckpt_path"):
        module.load_state_dict({"model.other": torch.zeros(1)})


@pytest.mark.filterwarnings("ignore")
def test_a_fused_optimizer_is_clipped_under_mixed_precision(bases, tmp_path):
    weights = []
    for fused in (False, True):
        torch.manual_seed(0)
        module = QuirkyLM(str(bases["llama"]), lora=LORA, optimizer=lambda p, f=fused: torch.optim.AdamW(p, fused=f))
        trainer = L.Trainer(
            accelerator="cpu", precision="bf16-mixed", gradient_clip_val=1.0, max_steps=3, limit_val_batches=0,
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, default_root_dir=tmp_path / str(fused),
        )  # fmt: skip
        trainer.fit(module, make_data(batch_size=16))
        assert trainer.global_step == 3
        weights.append({name: p.detach() for name, p in module.named_parameters() if p.requires_grad})
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-3, atol=1e-6)
