"""Results folders as nnU-Net's two versions leave them, of made-up masks."""

import json

import nibabel
import numpy as np


def masks(cases=6, seed=0, wrong=0.1, shape=(12, 12, 8)):
    """True masks with two classes, and predictions with so many voxels drawn at random."""
    random = np.random.default_rng(seed)
    truth, found = {}, {}
    for number in range(cases):
        labels = np.zeros(shape, np.uint8)
        labels[2:8, 3 : 6 + number % 3, 1:6] = 1
        if number % 3:
            labels[8:11, 8:11, 2:5] = 2  # every third case lacks it
        truth[f"case_{number:02}"] = labels
        noise = np.random.default_rng([seed, number]).random(shape) < wrong
        found[f"case_{number:02}"] = np.where(noise, random.integers(0, 3, shape), labels).astype(
            np.uint8
        )
    return truth, found


def save(folder, volumes, spacing=(1.0, 1.5, 2.0)):
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in volumes.items():
        nibabel.save(
            nibabel.Nifti1Image(labels, np.diag([*spacing, 1.0])), folder / f"{name}.nii.gz"
        )


def counts(found, true):
    both = int((found & true).sum())
    return both, int((found & ~true).sum()), int((~found & true).sum()), int((~found & ~true).sum())


def v2_summary(truth, found, gt_folder, folder, labels=((1,), (2,))):
    """As nnunetv2/evaluation/evaluate_predictions.py writes it."""
    cases = []
    for name in found:
        metrics = {}
        for label in labels:
            tp, fp, fn, tn = counts(np.isin(found[name], label), np.isin(truth[name], label))
            union = tp + fp + fn
            metrics[str(label[0] if len(label) == 1 else label)] = {
                "Dice": 2 * tp / (2 * tp + fp + fn) if union else float("nan"),
                "FN": fn,
                "FP": fp,
                "IoU": tp / union if union else float("nan"),
                "TN": tn,
                "TP": tp,
                "n_pred": fp + tp,
                "n_ref": fn + tp,
            }
        cases.append(
            {
                "metrics": metrics,
                "prediction_file": f"{folder}/{name}.nii.gz",
                "reference_file": f"{gt_folder}/{name}.nii.gz",
            }
        )
    return {
        "foreground_mean": {"Dice": 0.5},
        "mean": {"1": {"Dice": 0.5}},
        "metric_per_case": cases,
    }


def v1_summary(truth, found, gt_folder, folder, labels=(0, 1, 2)):
    """As nnunet/evaluation/evaluator.py writes it; the background is one of the classes."""
    cases = []
    for name in found:
        case = {"test": f"{folder}/{name}.nii.gz", "reference": f"{gt_folder}/{name}.nii.gz"}
        for label in labels:
            tp, fp, fn, _ = counts(found[name] == label, truth[name] == label)
            nan = float("nan")
            case[str(label)] = {
                "Accuracy": 0.9,
                "Dice": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else nan,
                "Jaccard": tp / (tp + fp + fn) if tp + fp + fn else nan,
                "Precision": tp / (tp + fp) if tp + fp else nan,
                "Recall": tp / (tp + fn) if tp + fn else nan,
                "Total Positives Reference": tp + fn,
                "Total Positives Test": tp + fp,
            }
        cases.append(case)
    return {
        "author": "Fabian",
        "description": "",
        "id": "0123456789ab",
        "name": "nnUNetTrainerV2 val tiled True",
        "results": {"all": cases, "mean": {"1": {"Dice": 0.5}}},
        "task": "Task004_Toy",
        "timestamp": "2020-01-01 00:00:00.000000",
    }


def write_v2(
    root,
    trainer="nnUNetTrainer",
    wrong=0.1,
    folds=2,
    predictions=True,
    gt="gt_segmentations",
    cases=6,
    labels=((1,), (2,)),
    described=None,
):
    """A results folder of the second version, and the true masks beside it; its path."""
    truth, found = masks(cases, wrong=wrong)
    folder = root / "nnUNet_results" / "Dataset004_Toy" / f"{trainer}__nnUNetPlans__3d_fullres"
    gt_folder = root / "nnUNet_preprocessed" / "Dataset004_Toy" / gt
    if predictions:
        save(gt_folder, truth)
    for fold in range(folds):
        names = sorted(found)[fold::folds]
        validation = folder / f"fold_{fold}" / "validation"
        validation.mkdir(parents=True)
        of_fold = {name: found[name] for name in names}
        if predictions:
            save(validation, of_fold)
        summary = v2_summary(truth, of_fold, gt_folder, validation, labels)
        (validation / "summary.json").write_text(json.dumps(summary))
    about = {
        "channel_names": {"0": "MRI"},
        "labels": described or {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder
