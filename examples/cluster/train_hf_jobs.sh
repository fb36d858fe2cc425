#!/bin/bash
# Train on Hugging Face Jobs: train_hf_jobs.sh DATA BUCKET [any other argument]   (hf auth login first; DRY=--dry-run only shows it)
#   bash train_hf_jobs.sh me/receipts me/receipts-tuned --use_lora True
# Checkpoints go into the bucket, so that an attempt that ends early is continued by the next (--attempts).
set -euo pipefail
data=$1 bucket=$2; shift 2
package=git+https://github.com/Reach2N/glm-ocr-finetune
hf jobs run ${DRY:-} --detach --flavor "${FLAVOR:-l4x1}" --timeout 12h --attempts 3 --secrets HF_TOKEN --name finetune \
  -v "hf://buckets/$bucket:/run-output" \
  python:3.12 bash -c "pip install -q $package && exec glm-ocr-finetune train \
    --dataset_name $data --output_dir /run-output --resume_from_checkpoint auto $*"
