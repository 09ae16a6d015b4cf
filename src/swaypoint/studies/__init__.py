"""The paper's studies, reproduced."""
