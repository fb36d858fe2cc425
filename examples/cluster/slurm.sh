#!/bin/bash
# Read a folder with eight GPUs: sbatch slurm.sh MODEL SCANS READINGS   (READINGS on a file system that all nodes share)
# Killed, preempted or out of time: submit the same again, and it goes on. Of the eight, the one that ends last merges.
#SBATCH --job-name=reading
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=%x-%A-%a.log
set -euo pipefail
model=$1 scans=$2 readings=$3; shift 3

# What comes after READINGS is handed on, such as --max_new_tokens 512. With vLLM in the job instead of this process:
#   vllm serve "$model" --port $((8000 + SLURM_ARRAY_TASK_ID)) & and --server http://127.0.0.1:$((8000 + SLURM_ARRAY_TASK_ID))
exec glm-ocr-finetune infer --model "$model" --image "$scans" --recursive True --output_dir "$readings" \
  --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" "$@"
