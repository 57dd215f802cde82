"""TrainConfig → DeepSpeed configuration."""

from __future__ import annotations

from typing import Any

from imageref_ray.core.config import TrainConfig


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """DeepSpeed settings for ZeRO stage 0 to 3; "auto" values are filled in by the Hugging Face Trainer.

    No optimizer: the Trainer's AdamW (torch, no weight decay on biases and norms) is used on CPU and GPU.
    """
    on_cpu = config.gpus_per_worker == 0
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": not on_cpu,
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }
