"""What each number and word of the review means, in a sentence that needs no statistics."""

from __future__ import annotations

from types import MappingProxyType

SENTENCES = MappingProxyType(
    {
        # where it stands
        "rank": "1 is the point without which the model would change most.",
        "split": "The model was not trained on this point: its opinion of it is unprejudiced.",
        "share": "How probable the model holds each class. It is an opinion, learnt with this label.",
        # kinds
        "mislabeled": "Without this point the model clearly prefers another class, and so do its neighbours.",
        "boundary": "Without this point the model hesitates between classes: look whether one could argue.",
        "under-represented": "Few points are like this one, so that the model leans on it.",
        "typical": "Neither its label nor its place is unusual: it is here by both together.",
        "outlier": "Its value is far from what the model, fitted without it, predicts.",
        "high-leverage": "Few points are like this one, so that it can bend the fit.",
        "bad-leverage": "Few points are like this one, and its value is far from the prediction.",
        # reasons
        "influence": "How far the model would move without this point, against all points together.",
        "label": "What the model says of this point that has never seen it.",
        "value": "How far its value is from what the model predicts that has never seen it.",
        "neighbours": "What the points are labelled that look most like this one to the model.",
        "region": "How alone the point is: the fewer are like it, the more the model leans on it.",
        "order": "This audit puts first what is most probably wrong, by the recommended score.",
        # related points
        "alike": "The points that look most like this one to the model.",
        "candidates": "Of its own class, and of those that the model holds likeliest, the points that look"
        " most like this one, of those whose labels the model agrees with.",
        "supporters": "Training points from which the model learnt what speaks for this label. They are left"
        " out where most of them carry another: then they tell of the model, and little of this point.",
        "opponents": "Training points from which the model learnt what speaks against this label."
        " They are left out where most of them carry this very label.",
        # scores
        "cook": "How far the model would move without this point (Cook's distance). Larger is farther.",
        "loss": "How badly the model does on this point. Larger is worse.",
        "loo_loss": "How badly a model that has never seen this point does on it. Larger is worse.",
        "margin": "Probability of its label less that of the best other class, by a model that has never"
        " seen it: 1 is sure of the label, -1 is sure of another.",
        "leverage": "How alone the point is. Larger: fewer are like it.",
        "auto": "The recommended score for wrong labels. Larger is more probably wrong.",
        "p_wrong": "How probable it is that the label is wrong, 0 to 1.",
        "p_foreign": "Of records that belong, the share that is as far from every class as this one."
        " Smaller is more foreign.",
        "studentised": "How many standard deviations its value is from the prediction made without it.",
        "residual": "Its value less the prediction.",
        "suggested_error": "How uncertain the prediction made without it is, as a standard deviation.",
        # classes
        "suspects": "Points to which the model, fitted without them, gives another class.",
        "validated": "Points that reviewers found to belong there.",
    }
)
