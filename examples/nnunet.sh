#!/usr/bin/env bash
# nnU-Net with a dilated loss, from a data set in nnU-Net's raw format to predictions.
#
#   export nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=...
#   examples/nnunet.sh 4                                  # Dataset004_..., on a GPU: adaptive, and Dice
#   examples/nnunet.sh 4 nnUNetTrainerDBCEDice_R2mm       # the paper's idea, radius 2 mm, and Dice
#   examples/nnunet.sh 4 nnUNetTrainerAdaptiveDBCE cpu    # adaptive, alone
#
# What it shows: one line tells nnU-Net where the trainers are. Everything else stays as it was.
set -euo pipefail
dataset=${1:?which data set? Its number, such as 4 for Dataset004_...}
trainer=${2:-nnUNetTrainerAdaptiveDBCEDice}
device=${3:-cuda}
for name in nnUNet_raw nnUNet_preprocessed nnUNet_results; do
  [ -n "${!name:-}" ] || { echo "$name is not set: nnU-Net needs a folder there" >&2; exit 1; }
done

# This line. It is needed whenever a trainer is looked up, so for predictions too.
trainers=$(dilated-ce nnunet-path)
export nnUNet_extTrainer="$trainers${nnUNet_extTrainer:+:$nnUNet_extTrainer}"

nnUNetv2_plan_and_preprocess -d "$dataset" -c 3d_fullres --verify_dataset_integrity
# --c goes on where an earlier run was interrupted, and starts anew if there was none.
nnUNetv2_train "$dataset" 3d_fullres 0 -tr "$trainer" -device "$device" --c

folder=$(echo "$nnUNet_raw/$(printf 'Dataset%03d_' "$dataset")"*)
nnUNetv2_predict -i "$folder/imagesTs" -o "$nnUNet_results/predictions_$dataset" \
  -d "$dataset" -c 3d_fullres -f 0 -tr "$trainer" -device "$device"
echo "predictions: $nnUNet_results/predictions_$dataset"
