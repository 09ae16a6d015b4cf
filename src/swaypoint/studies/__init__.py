"""The paper's studies, reproduced; and wrong labels planted in sets of yours."""
