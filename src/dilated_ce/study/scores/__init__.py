"""What one prediction is worth: overlap, surfaces, lesions, calibration."""
