"""Scores of restored pictures: metrics, the evaluator, its tables, published figures."""
