"""From a trained run to its compressed variants: fine-tuning stages and their files."""
