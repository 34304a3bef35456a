"""MAP@k by scalar loops, written from the formulas alone: shares nothing with the package."""


def ranking(scores, allowed, k):
    """Class ids of one image, best first; equal scores by class id."""
    candidates = [c for c in range(len(scores)) if allowed is None or allowed[c]]
    return sorted(candidates, key=lambda c: (-scores[c], c))[:k]


def image_ap(scores, labels, weights, k, allowed=None):
    """AP of one image, None if its labels weigh nothing."""
    ideal = sum(sorted((weights[c] for c in labels), reverse=True)[:k])
    if ideal == 0:
        return None
    total, hits = 0.0, 0
    for rank, c in enumerate(ranking(scores, allowed, k), start=1):
        if c in labels:
            hits += 1
            total += weights[c] * hits / rank
    return total / ideal


def map_per_image(all_scores, all_labels, weights, k, all_allowed=None):
    found = []
    for i, (scores, labels) in enumerate(zip(all_scores, all_labels, strict=True)):
        ap = image_ap(scores, labels, weights, k, all_allowed[i] if all_allowed else None)
        if ap is not None:
            found.append(ap)
    return sum(found) / len(found) if found else None


def class_aps(all_scores, all_labels, num_classes, k, all_allowed=None):
    """AP of each class, None for one that no image has. Images in the order of their keys."""
    lists = [
        ranking(scores, all_allowed[i] if all_allowed else None, k)
        for i, scores in enumerate(all_scores)
    ]
    aps = []
    for c in range(num_classes):
        positives = sum(c in labels for labels in all_labels)
        listing = [i for i, ids in enumerate(lists) if c in ids]
        listing.sort(key=lambda i: (-all_scores[i][c], i))
        total, hits = 0.0, 0
        for rank, i in enumerate(listing, start=1):
            if c in all_labels[i]:
                hits += 1
                total += hits / rank
        aps.append(total / positives if positives else None)
    return aps


def map_per_class(aps, weights):
    total = sum(w for ap, w in zip(aps, weights, strict=True) if ap is not None)
    if total == 0:
        return None
    return sum(w * ap for ap, w in zip(aps, weights, strict=True) if ap is not None) / total
