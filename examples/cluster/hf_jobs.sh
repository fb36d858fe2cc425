#!/bin/bash
# Read a bucket of scans on Hugging Face Jobs: hf_jobs.sh SCANS_BUCKET READINGS_BUCKET MODEL [JOBS]
#   sh hf_jobs.sh me/scans me/readings me/glm-ocr-tuned 4      (hf auth login first; DRY=--dry-run only shows the jobs)
# Run it again for what is missing. One bucket holds all shares; the job that ends last merges them.
set -euo pipefail
scans=$1 readings=$2 model=$3 jobs=${4:-1}
package=git+https://github.com/Reach2N/glm-ocr-finetune
for number in $(seq "$jobs"); do
  hf jobs run ${DRY:-} --detach --flavor l4x1 --timeout 12h --attempts 3 --secrets HF_TOKEN --name "reading-$number" \
    -v "hf://buckets/$scans:/scans:ro" -v "hf://buckets/$readings:/readings" \
    python:3.12 bash -c "pip install -q $package && exec glm-ocr-finetune infer --model $model \
      --image /scans --recursive True --output_dir /readings --shard $number/$jobs"
done
