"""From the scores of cases to what can be said of other patients and seeds."""
