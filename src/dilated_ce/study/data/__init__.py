"""Reading data sets: folders of pictures, and what a dataset.json describes."""
