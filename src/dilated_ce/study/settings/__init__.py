"""All settings of a study in one object, and the file that they are written in."""
