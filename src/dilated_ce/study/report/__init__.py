"""The report of a comparison: tables, pictures, and what they say in words.

Light, as the package of the study has a function of the same name: see there.
"""
